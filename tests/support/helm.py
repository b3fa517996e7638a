#!/usr/bin/env python3
"""A small `helm`, for machines that have none: Helm's own library (helm-python-sdk, which tool.sh installs) under
Helm's own flag names, as far as the checks and the cluster tests need them."""

import argparse
import glob
import json
import os
import re
import sys

TOOLS = os.environ.get("ERRAND_TOOLS") or os.path.expanduser("~/.cache/errand/tools")
sys.path[:0] = sorted(glob.glob(f"{TOOLS}/helm-python-sdk-*"))[-1:]

import helm_python  # noqa: E402
from helm_python import _native  # noqa: E402

# The library's own wrapper of helm_render leaves these two options out.
RENDER_OPTIONS = ("kube_version", "api_versions")
SEVERITIES = {0: "UNKNOWN", 1: "INFO", 2: "WARNING", 3: "ERROR"}


def seconds(text):
    """A Go duration in whole seconds."""
    units = {"h": 3600, "m": 60, "s": 1}
    if not re.fullmatch(r"(\d+[hms])+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s or 5m")
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def merge(below, above):
    """Maps are merged, everything else is replaced, as Helm does with several value files."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def values(args):
    merged = {}
    for path in args.values:
        with open(path, encoding="utf-8") as file:
            merged = merge(merged, helm_python.values_from_yaml(file.read()))
    for expression in args.set:
        merged = merge(merged, helm_python.parse_set_string(expression))
    for expression in args.set_string:
        merged = merge(merged, helm_python.parse_set_string_values(expression))
    return merged


def config(args):
    return helm_python.Config(
        kubeconfig_path=args.kubeconfig, kube_context=args.kube_context, namespace=args.namespace
    )


def show(release):
    for key in ("name", "namespace", "status", "revision"):
        print(f"{key.upper()}: {release.get(key)}")
    if release.get("notes"):
        print(f"NOTES:\n{release['notes']}")


def lint(args):
    report = helm_python.lint(
        args.chart, values(args), strict=args.strict, namespace=args.namespace, kube_version=args.kube_version
    )
    for message in report["messages"] or []:
        print(f"[{SEVERITIES.get(message['severity'])}] {message['path']}: {message['error']}")
    worst = max((message["severity"] for message in report["messages"] or []), default=0)
    failed = bool(report["errors"]) or worst >= (2 if args.strict else 3)
    print(f"{report['total_charts_linted']} chart(s) linted, {int(failed)} chart(s) failed")
    return int(failed)


def template(args):
    options = {"name": args.release, "namespace": args.namespace}
    options |= {key: getattr(args, key) for key in RENDER_OPTIONS if getattr(args, key)}
    with helm_python.Chart.load(args.chart) as chart:
        rendered = json.loads(
            _native.call_string("helm_render", chart._raw(), json.dumps(values(args)), json.dumps(options))
        )
    for path, text in sorted(rendered.items()):
        if path.endswith((".yaml", ".yml")) and text.strip():
            begin = "" if text.lstrip().startswith("---") else "---\n"
            print(f"{begin}# Source: {path}\n{text.strip()}")
    return 0


def show_values(args):
    with open(os.path.join(args.chart, "values.yaml"), encoding="utf-8") as file:
        print(file.read(), end="")
    return 0


def write(args, action, kept=None):
    release = action(
        args.chart,
        args.release,
        merge(kept or {}, values(args)),
        namespace=args.namespace,
        timeout=args.timeout,
        wait=args.wait or "hookOnly",
        rollback_on_failure=args.rollback_on_failure,
        **({"create_namespace": args.create_namespace} if action.__name__ == "install" else {}),
    )
    show(release)
    return 0


def install(args):
    with config(args) as cluster:
        return write(args, cluster.install)


def upgrade(args):
    with config(args) as cluster:
        if args.install and not cluster.list(all_states=True, name_filter=f"^{re.escape(args.release)}$"):
            return write(args, cluster.install)
        kept = {}
        if args.reset_then_reuse_values:
            kept = cluster.get_values(args.release) or {}
        return write(args, cluster.upgrade, kept)


def uninstall(args):
    with config(args) as cluster:
        cluster.uninstall(
            args.release,
            timeout=args.timeout,
            wait=args.wait or "hookOnly",
            ignore_not_found=args.ignore_not_found,
        )
    print(f'release "{args.release}" uninstalled')
    return 0


def status(args):
    with config(args) as cluster:
        show(cluster.status(args.release))
    return 0


def parser():
    main = argparse.ArgumentParser(prog="helm", description=__doc__, allow_abbrev=False)
    commands = main.add_subparsers(required=True)

    def command(name, run, *positional, values=False, cluster=False):
        sub = commands.add_parser(name, allow_abbrev=False)
        sub.set_defaults(run=run)
        for argument in positional:
            sub.add_argument(argument)
        sub.add_argument("-n", "--namespace", default="default")
        if values:
            sub.add_argument("-f", "--values", action="append", default=[])
            sub.add_argument("--set", action="append", default=[])
            sub.add_argument("--set-string", action="append", default=[])
        if cluster:
            sub.add_argument("--kubeconfig")
            sub.add_argument("--kube-context")
        return sub

    def waiting(sub):
        sub.add_argument("--wait", choices=["watcher", "legacy", "hookOnly"])
        sub.add_argument("--timeout", type=seconds, default=300)

    for name, run in (("lint", lint), ("template", template)):
        sub = command(name, run, *(["release"] if run is template else []), "chart", values=True)
        sub.add_argument("--kube-version")
        if run is lint:
            sub.add_argument("--strict", action="store_true")
        else:
            sub.add_argument("-a", "--api-versions", action="append", default=[])
    for name, run in (("install", install), ("upgrade", upgrade)):
        sub = command(name, run, "release", "chart", values=True, cluster=True)
        waiting(sub)
        sub.add_argument("--create-namespace", action="store_true")
        sub.add_argument("--rollback-on-failure", "--atomic", action="store_true")
        if run is upgrade:
            sub.add_argument("-i", "--install", action="store_true")
            sub.add_argument("--reset-then-reuse-values", action="store_true")
    sub = command("uninstall", uninstall, "release", cluster=True)
    waiting(sub)
    sub.add_argument("--ignore-not-found", action="store_true")
    command("status", status, "release", cluster=True)
    sub = command("show", show_values)
    sub.add_argument("what", choices=["values"])
    sub.add_argument("chart")
    return main


def main(arguments):
    # `--wait` alone is Helm's default; argparse would take the next word for its value.
    args = parser().parse_args(["--wait=watcher" if word == "--wait" else word for word in arguments])
    try:
        return args.run(args)
    except (helm_python.HelmError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
