# Runs ENTRY of the package that lies in parts in the folder PACKAGE, and writes what it returns into WORK.
# Needs Python 3.6 or newer and nothing else. The words are those of OpenStack Qinling.
import importlib, inspect, io, json, os, sys, time, traceback, zipfile


def arguments():
    folder = os.environ.get("ERRAND_INPUT_DIR", "/errand/input")
    try:
        with open(os.path.join(folder, "body"), encoding="utf-8") as body:
            text = body.read()
        with open(os.path.join(folder, "content-type"), encoding="utf-8") as media:
            named = media.read().startswith("application/json")
    except FileNotFoundError:
        return [], {}
    return ([], json.loads(text)) if named else ([text], {})


def unpack(package, folder):
    parts = sorted(name for name in os.listdir(package) if not name.startswith("."))
    zipped = io.BytesIO()
    for name in parts:
        with open(os.path.join(package, name), "rb") as part:
            zipped.write(part.read())
    zipfile.ZipFile(zipped).extractall(folder)


def find(entry, folder):
    sys.path.insert(0, folder)
    module, _, method = entry.rpartition(".")
    return getattr(importlib.import_module(module), method)


def with_context(method, named):
    kinds = inspect.signature(method).parameters.values()
    if any(kind.name == "context" or kind.kind is kind.VAR_KEYWORD for kind in kinds):
        named = dict(named, context={"os_session": None})
    return named


def main(entry, package, work):
    execution = os.environ.get("ERRAND_TASK", "")
    print("Start execution: " + execution, flush=True)
    began = time.monotonic()
    try:
        folder = os.path.join(work, "code")
        unpack(package, folder)
        method = find(entry, folder)
        ordered, named = arguments()
        output, success = method(*ordered, **with_context(method, named)), True
        json.dumps(output)
    except BaseException as error:
        traceback.print_exc()
        output, success = str(error), False
    result = {"output": output, "duration": round(time.monotonic() - began, 3)}
    with open(os.path.join(work, "result.json"), "w", encoding="utf-8") as file:
        json.dump(result, file)
    print("Finished execution: " + execution, flush=True)
    sys.exit(0 if success else 1)


main(*sys.argv[1:])
