# What the client of OpenStack Qinling does with the facade at URL: as a library, then as commands of openstack.
# Called as: client.py URL TOKEN ADMIN_TOKEN FOLDER. Ends with 0 where everything is as that client expects it.
import hashlib, io, json, logging, os, sys, time, traceback, uuid, zipfile

from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token
from qinlingclient import client as qinling

URL, TOKEN, ADMIN, FOLDER = sys.argv[1:]
ann = qinling.Client("1", URL, token=TOKEN)
admin = qinling.Client("1", URL, token=ADMIN)
steps = []


def step(function):
    steps.append(function)
    return function


def refused(status, sentence, call, /, *args, **named):
    try:
        call(*args, **named)
    except Exception as error:
        assert getattr(error, "code", None) == status, (status, repr(error), getattr(error, "code", None))
        assert sentence in str(error), (sentence, str(error))
    else:
        raise AssertionError("not refused with %d" % status)


def zipped(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name + ".py", text)
    return data.getvalue()


HELLO = """
import os, sys, time
def main(name='World', **kwargs):
    print('says hello to ' + name)
    return 'Hello, ' + name
def count(text, context=None):
    return {'text': text, 'words': len(text.split())}
def fail(**kwargs):
    raise ValueError('this is wrong')
def sleep(seconds=60, **kwargs):
    time.sleep(float(seconds))
    return seconds
"""


def package(code, **more):
    return dict(code={"source": "package"}, package=io.BytesIO(code), **more)


def ended(execution):
    for _ in range(600):
        now = ann.function_executions.get(execution.id)
        if now.status != "running":
            return now
        time.sleep(0.1)
    raise AssertionError("still running: %s" % execution.id)


state = {}


@step
def runtimes():
    refused(403, "Operation not allowed", ann.runtimes.create, image="python:3-alpine")
    made = admin.runtimes.create(image="python:3-alpine", name="python3")
    assert (made.image, made.is_public, made.trusted, made.status) == ("python:3-alpine", True, True, "available")
    assert [one.id for one in ann.runtimes.list()] == [made.id]
    assert ann.runtimes.get(made.id).name == "python3"
    assert admin.runtimes.get_pool(made.id).capacity == {"total": 0, "available": 0}
    refused(404, "Runtime not found [id=", ann.runtimes.get, str(uuid.uuid4()))
    spare = admin.runtimes.create(image="x")
    admin.runtimes.delete(spare.id)
    assert len(ann.runtimes.list()) == 1
    state["runtime"] = made.id


@step
def functions():
    code = zipped(main=HELLO)
    md5 = hashlib.md5(code).hexdigest()
    made = ann.functions.create(runtime=state["runtime"], name="hello", entry="main.main", timeout=60,
                                code={"source": "package", "md5sum": md5}, package=io.BytesIO(code))
    assert made.code == {"source": "package", "md5sum": md5}, made.code
    assert (made.cpu, made.memory_size, made.timeout, made.entry) == (100, 33554432, 60, "main.main")
    wrong = dict(code={"source": "package", "md5sum": "0" * 32}, package=io.BytesIO(code))
    refused(400, "Package md5 mismatch.", ann.functions.create, runtime=state["runtime"], **wrong)
    refused(400, "not a valid ZIP", ann.functions.create, runtime=state["runtime"], **package(b"PK no zip"))
    refused(400, "\"runtime_id\" must be specified.", ann.functions.create, **package(code))
    refused(404, "Runtime not found", ann.functions.create, runtime=str(uuid.uuid4()), **package(code))
    refused(400, "Swift object not supported.", ann.functions.create, runtime=state["runtime"],
            code={"source": "swift", "swift": {"container": "c", "object": "o"}})
    refused(400, "timeout resource limitation", ann.functions.create, runtime=state["runtime"], timeout=301, **package(code))
    loaded = b"".join(ann.functions.get(made.id, download=True).iter_content(1024))
    assert loaded == code
    listed = [one for one in ann.functions.list() if one.id == made.id][0]
    assert json.loads(listed.code) == {"source": "package", "md5sum": md5}
    assert ann.functions.find(name="hello").id == made.id
    refused(403, "is still in use.", admin.runtimes.delete, state["runtime"])
    refused(404, "Function not found [id=abc]", ann.functions.get, "abc")
    state["hello"] = made.id


@step
def executions():
    hello = state["hello"]
    done = ann.function_executions.create(hello, input=json.dumps({"name": "Qinling"}))
    assert done.status == "success", vars(done)
    result = json.loads(done.result)
    assert result["output"] == "Hello, Qinling" and result["duration"] >= 0, result
    assert (done.function_id, done.function_version, done.function_alias, done.sync) == (hello, 0, None, True)
    assert done.input == '{"name": "Qinling"}' and done.project_id == "default"
    plain = ann.function_executions.create(hello)
    assert json.loads(plain.result)["output"] == "Hello, World" and plain.input is None
    later = ann.function_executions.create(hello, sync=False)
    assert (later.status, later.result, later.sync) == ("running", None, False)
    assert ended(later).status == "success"
    text = log(done.id)
    assert text == "Start execution: %s\nsays hello to Qinling\nFinished execution: %s\n" % (done.id, done.id), text
    assert ann.functions.get(hello).count == 3
    state["done"] = done.id


def log(execution):
    # Without a session the library gives no texts out.
    session = Session(auth=Token(URL, TOKEN))
    return qinling.Client("1", URL, session=session).function_executions.get_log(execution)


@step
def failures():
    code = zipped(main=HELLO)
    fails = ann.functions.create(runtime=state["runtime"], entry="main.fail", timeout=60, **package(code))
    failed = ann.function_executions.create(fails.id)
    assert failed.status == "failed" and json.loads(failed.result)["output"] == "this is wrong", vars(failed)
    assert "ValueError: this is wrong" in log(failed.id)
    slow = ann.functions.create(runtime=state["runtime"], entry="main.sleep", timeout=1, **package(code))
    late = ann.function_executions.create(slow.id, input=json.dumps({"seconds": 30}))
    result = json.loads(late.result)
    assert late.status == "failed" and result["output"] == "Function execution timeout.", vars(late)
    assert result["duration"] >= 1, result
    ann.functions.update(slow.id, timeout=60)
    again = ann.function_executions.create(slow.id, input=json.dumps({"seconds": 1}))
    assert again.status == "success" and json.loads(again.result)["output"] == 1, vars(again)
    words = ann.functions.create(runtime=state["runtime"], entry="main.count", timeout=60, **package(code))
    counted = ann.function_executions.create(words.id, input="one two  three")
    assert json.loads(counted.result)["output"] == {"text": "one two  three", "words": 3}, vars(counted)
    for text in ["6", "[1, 2]", "true", '"x"', ""]:
        got = ann.function_executions.create(words.id, input=text)
        assert json.loads(got.result)["output"]["text"] == text and got.input == text, vars(got)
    image = ann.functions.create(code={"source": "image", "image": "registry.invalid/none:1"})
    refused(400, "The image type function code can not be changed.", ann.functions.update, image.id, cpu=200)
    refused(400, "Can not specify version", ann.function_executions.create, image.id, function_version=1)
    error = ann.function_executions.create(image.id)
    assert error.status == "error", vars(error)
    assert json.loads(error.result) == {"output": "Function execution failed."}
    for one in [fails, slow, words, image]:
        ann.functions.delete(one.id)


@step
def lists():
    hello, done = state["hello"], state["done"]
    ids = lambda **filters: [one.id for one in ann.function_executions.list(**filters)]
    assert set(ids(function_id=hello)) == set(ids(function_id="eq:" + hello)) and len(ids(function_id=hello)) == 3
    assert done in ids(status="success") and done not in ids(status="neq:success")
    assert done in ids(status="in:success,failed") and done in ids(status="has:ucc")
    assert ids(function_id=hello, status="failed") == []
    assert len(ids(status="failed")) == 2 and len(ids(status="error")) == 1
    refused(400, "Unknown argument: \"limit\"", ann.function_executions.list, limit=1)
    refused(403, "Operation not allowed", ann.function_executions.list, all_projects="true")
    assert done in [one.id for one in admin.function_executions.list(all_projects="true")]
    ann.function_executions.delete(done)
    missing = "Execution not found [id=%s]" % done
    refused(404, missing, ann.function_executions.get, done)
    refused(404, missing, ann.function_executions.delete, done)
    refused(404, missing, ann.function_executions.get_log, done)
    refused(400, "Expected a uuid but received abc", ann.function_executions.get, "abc")
    refused(400, "Either function_alias or function_id must be provided.", ann.function_executions.create, None)
    refused(404, "Function not found", ann.function_executions.create, str(uuid.uuid4()))


@step
def versions():
    hello = state["hello"]
    one = ann.function_versions.create(hello, "the first")
    assert (one.version_number, one.function_id, one.description, one.count) == (1, hello, "the first", 0)
    refused(403, "Function package not changed since the latest version 1.", ann.function_versions.create, hello)
    ann.functions.update(hello, code={"source": "package"}, package=io.BytesIO(zipped(main=HELLO.replace("Hello", "Goodbye"))))
    two = ann.function_versions.create(hello)
    assert [one.version_number for one in ann.function_versions.list(hello)] == [1, 2]
    assert ann.functions.get(hello).latest_version == 2
    before = ann.functions.get(hello).count
    old = ann.function_executions.create(hello, function_version=1)
    assert (json.loads(old.result)["output"], old.function_version) == ("Hello, World", 1), vars(old)
    new = ann.function_executions.create(hello)
    assert json.loads(new.result)["output"] == "Goodbye, World", vars(new)
    assert ann.function_versions.get(hello, 1).count == 1 and ann.functions.get(hello).count == before + 1
    refused(404, "FunctionVersion not found [function_id=%s, version_number=9]" % hello, ann.function_versions.get, hello, 9)
    refused(404, "FunctionVersion not found", ann.function_executions.create, hello, function_version=9)
    ann.function_versions.delete(hello, 2)
    assert ann.functions.get(hello).latest_version == 1


@step
def aliases():
    hello = state["hello"]
    made = ann.function_aliases.create("live", hello, function_version=1, description="what is live")
    assert (made.name, made.function_id, made.function_version, made.description) == ("live", hello, 1, "what is live")
    refused(400, "Duplicate entry for function_aliases", ann.function_aliases.create, "live", hello)
    refused(400, "Duplicate entry for function_aliases", ann.function_aliases.create, "other", hello, function_version=1)
    assert [one.name for one in ann.function_aliases.list()] == ["live"]
    ran = ann.function_executions.create(None, function_alias="live")
    assert (ran.function_alias, ran.function_id, ran.function_version) == ("live", hello, 1), vars(ran)
    assert json.loads(ran.result)["output"] == "Hello, World"
    refused(404, "FunctionAlias not found [name=none]", ann.function_executions.create, None, function_alias="none")
    refused(403, "still associated with function alias(es)", ann.functions.delete, hello)
    refused(403, "still associated with function alias(es)", ann.function_versions.delete, hello, 1)
    assert ann.function_aliases.update("live", function_version=0).function_version == 0
    assert ann.function_aliases.get("live").function_version == 0
    ann.function_aliases.delete("live")
    refused(404, "FunctionAlias not found [name=live]", ann.function_aliases.get, "live")


@step
def webhooks():
    import requests
    hello = state["hello"]
    hook = ann.webhooks.create(function_id=hello, function_version=0, description="open")
    assert hook.webhook_url == URL + "/v1/webhooks/%s/invoke" % hook.id
    called = requests.post(hook.webhook_url + "?name=Hook")
    assert called.status_code == 202, called.text
    ran = ended(ann.function_executions.get(called.json()["execution_id"]))
    assert json.loads(ran.result)["output"] == "Goodbye, Hook" and ran.description == "Created by Webhook " + hook.id
    assert requests.post(URL + "/v1/webhooks/%s/invoke" % uuid.uuid4()).status_code == 404
    refused(403, "still associated with webhook(s)", ann.functions.delete, hello)
    assert ann.webhooks.update(hook.id, function_version=1).function_version == 1
    again = requests.post(hook.webhook_url, json={"name": "Json"}).json()["execution_id"]
    assert json.loads(ended(ann.function_executions.get(again)).result)["output"] == "Hello, Json"
    assert [one.id for one in ann.webhooks.list()] == [hook.id] and ann.webhooks.get(hook.id).function_id == hello
    ann.webhooks.delete(hook.id)
    assert requests.post(hook.webhook_url).status_code == 404


def ahead(minutes):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60 * minutes))


@step
def jobs():
    import requests
    hello = state["hello"]
    # Due within a minute, but not before it is looked at; its execution comes last.
    while time.gmtime().tm_sec > 40:
        time.sleep(0.5)
    due = ann.jobs.create(function_id=hello, name="due", pattern="* * * * *", count=1, function_input=json.dumps({"name": "Job"}))
    assert (due.status, due.count, due.function_id, due.function_version, due.function_alias) == ("running", 1, hello, 0, None), vars(due)
    assert due.next_execution_time == due.first_execution_time and due.next_execution_time > due.created_at, vars(due)
    assert (due.name, due.function_input, due.updated_at) == ("due", json.dumps({"name": "Job"}), None), vars(due)
    later = ahead(90)
    once = ann.jobs.create(function_id=hello, function_version=1, first_execution_time=later)
    assert (once.first_execution_time, once.next_execution_time, once.pattern, once.count) == (later, later, None, 1), vars(once)
    cron = ann.jobs.create(function_id=hello, pattern="0 0 1 1 *", first_execution_time="2098-06-01 00:00:00")
    assert (cron.next_execution_time, cron.count) == ("2099-01-01T00:00:00Z", None), vars(cron)
    listed = [one.id for one in ann.jobs.list()]
    assert sorted(listed) == sorted([due.id, once.id, cron.id]), listed
    assert vars(ann.jobs.get(once.id))["function_version"] == 1

    def get(query):
        return requests.get(URL + "/v1/jobs" + query, headers={"X-Auth-Token": TOKEN})

    assert len(get("?project_id=default").json()["jobs"]) == 3
    assert get("?project_id=neq:default").json() == {"jobs": []}
    assert get("?status=running").json()["faultstring"] == 'Unknown argument: "status"'
    refused(403, "Operation not allowed", ann.jobs._list, "/v1/jobs?all_projects=true", response_key="jobs")
    assert len(admin.jobs._list("/v1/jobs?all_projects=true", response_key="jobs")) == 3

    assert ann.jobs.update(cron.id, status="paused").status == "paused"
    resumed = ann.jobs.update(cron.id, status="running", name="yearly", pattern="0 0 2 1 *", function_input="plain")
    assert (resumed.status, resumed.name, resumed.pattern, resumed.function_input) == ("running", "yearly", "0 0 2 1 *", "plain")
    assert resumed.next_execution_time == "2099-01-02T00:00:00Z" and resumed.updated_at, vars(resumed)
    assert resumed.first_execution_time == "2099-01-01T00:00:00Z", vars(resumed)
    soon = ahead(120)
    assert ann.jobs.update(once.id, next_execution_time=soon).next_execution_time == soon

    refused(400, "Either function_alias or function_id must be provided.", ann.jobs.create, pattern="* * * * *")
    refused(400, "pattern or first_execution_time must be specified.", ann.jobs.create, function_id=hello)
    refused(400, "The specified pattern is not valid: 61 * * * *", ann.jobs.create, function_id=hello, pattern="61 * * * *")
    refused(400, "Execution time must be at least 1 minute in the future.", ann.jobs.create, function_id=hello, first_execution_time=ahead(0))
    refused(400, "pattern must be provided if count is greater than 1.", ann.jobs.create, function_id=hello, first_execution_time=later, count=2)
    refused(404, "Function not found", ann.jobs.create, function_id=str(uuid.uuid4()), pattern="* * * * *")
    refused(404, "FunctionAlias not found [name=none]", ann.jobs.create, function_alias="none", function_version=None, pattern="* * * * *")
    refused(404, "FunctionVersion not found", ann.jobs.create, function_id=hello, function_version=9, pattern="* * * * *")
    refused(400, "Invalid status.", ann.jobs.update, cron.id, status="done")
    refused(400, "Can not change job type.", ann.jobs.update, once.id, pattern="* * * * *")
    refused(400, "Can not change job type.", ann.jobs.update, cron.id, pattern="")
    refused(404, "Job not found [id=", ann.jobs.get, str(uuid.uuid4()))
    bob = qinling.Client("1", URL, token="bob")
    refused(403, "Operation not allowed", bob.jobs.list)
    refused(403, "Operation not allowed", bob.jobs.create, function_id=hello, pattern="* * * * *")
    refused(404, "Job not found", bob.jobs.get, cron.id)
    refused(404, "Job not found", bob.jobs.delete, cron.id)

    refused(403, "The function is still associated with running job(s).", ann.functions.delete, hello)
    refused(403, "The function version is still associated with running job(s).", ann.function_versions.delete, hello, 1)
    refused(403, "The function is still associated with running job(s).", ann.functions.update, hello,
            code={"source": "package"}, package=io.BytesIO(zipped(main=HELLO)))
    ann.function_aliases.create("timed", hello, function_version=1)
    named = ann.jobs.create(function_alias="timed", function_version=None, pattern="0 0 1 1 *")
    assert (named.function_alias, named.function_id, named.function_version) == ("timed", None, 0), vars(named)
    refused(403, "The function alias is still associated with running job(s).", ann.function_aliases.delete, "timed")
    assert ann.function_aliases.update("timed", function_version=0).function_version == 0
    cancelled = ann.jobs.update(named.id, status="cancelled")
    assert cancelled.status == "cancelled", vars(cancelled)
    refused(400, "Can not update a finished job.", ann.jobs.update, named.id, status="running")
    ann.function_aliases.delete("timed")
    for job in (named, once, cron):
        ann.jobs.delete(job.id)
    refused(404, "Job not found [id=%s]" % cron.id, ann.jobs.delete, cron.id)

    description = "Created by Job " + due.id
    for _ in range(1200):
        ran = [one for one in ann.function_executions.list() if one.description == description]
        if ran:
            break
        time.sleep(0.1)
    ran = ended(ran[0])
    assert json.loads(ran.result)["output"] == "Goodbye, Job", vars(ran)
    assert (ran.status, ran.sync, ran.project_id, ran.function_id) == ("success", False, "default", hello), vars(ran)
    done = ann.jobs.get(due.id)
    assert (done.status, done.count, done.next_execution_time) == ("done", 0, due.next_execution_time), vars(done)
    ann.jobs.delete(due.id)
    assert ann.function_executions.get(ran.id).description == description, "executions outlive their job"


@step
def workers():
    hello = state["hello"]
    ann.functions.scaleup(hello, 2)
    ann.functions.scaledown(hello)
    ann.functions.detach(hello)
    ann.function_versions.detach(hello, 1)
    assert ann.function_workers.list(hello) == []


@step
def denied():
    stranger = qinling.Client("1", URL, token="wrong")
    refused(401, "", stranger.functions.list)
    bob = qinling.Client("1", URL, token="bob")
    refused(403, "Operation not allowed", bob.functions.list)
    refused(403, "Operation not allowed", bob.function_executions.create, state["hello"])
    refused(404, "Function not found", bob.functions.get, state["hello"])
    refused(403, "Operation not allowed", bob.functions.delete, state["hello"])


@step
def commands():
    from openstackclient import shell

    def run(line, token=TOKEN):
        # Each call of main adds handlers.
        logging.getLogger("").handlers.clear()
        base = ["--os-auth-type", "admin_token", "--os-endpoint", URL, "--os-token", token, "--qinling-url", URL]
        out, sys.stdout = sys.stdout, io.StringIO()
        try:
            code = shell.main(base + [word.replace("\u00a0", " ") for word in line.split(" ")])
            text = sys.stdout.getvalue()
        finally:
            sys.stdout = out
        assert code == 0, (line, code, text)
        return text

    def value(line, column="id", token=TOKEN):
        return run(line + " -f value -c " + column, token).strip()

    file = os.path.join(FOLDER, "main.py")
    with open(file, "w") as code:
        code.write(HELLO)
    packed = os.path.join(FOLDER, "main.zip")
    with open(packed, "wb") as archive:
        archive.write(zipped(main=HELLO.replace("Hello", "Howdy")))
    runtime = value("runtime create python:3-alpine --name py", token=ADMIN)
    run("runtime list")
    run("runtime show " + runtime)
    run("runtime pool show " + runtime, token=ADMIN)
    run("function create --name cli --runtime py --entry main.main --file %s --timeout 60" % file)
    run("function list")
    function = value("function show cli")
    assert "Hello, World" in value("function execution create --function cli", "result")
    made = value("function execution create --function %s --input {\"name\":\"x\"} --sync" % function)
    run("function execution create --function cli --async")
    run("function execution list --filter function_id=%s --filter status=success" % function)
    run("function execution show " + made)
    assert "says hello to x" in run("function execution log show " + made)
    run("function update cli --package %s --timeout 50" % packed)
    assert "Howdy, World" in value("function execution create --function cli", "result")
    run("function version create %s --description first" % function)
    run("function version list %s" % function)
    run("function version show %s 1" % function)
    run("function execution create --function cli --function-version 1")
    run("function alias create now --function cli --function-version 1")
    run("function alias list")
    run("function alias show now")
    run("function execution create --function-alias now")
    run("function alias update now --function-version 0")
    hook = value("webhook create --function cli --description open")
    run("webhook list")
    run("webhook show " + hook)
    run("webhook update %s --function-version 1" % hook)
    run("webhook delete " + hook)
    job = value("job create --function cli --pattern 0_0_1_1_* --name yearly --count 2".replace("_", "\u00a0"))
    run("job create --function-alias now --first-execution-time %s" % ahead(90))
    assert "yearly" in run("job list")
    run("job show " + job)
    assert value("job update %s --status paused" % job, "status") == "paused"
    assert value("job update %s --status running --name n --function-input x" % job, "status") == "running"
    run("job update %s --next-execution-time %s" % (job, ahead(90)))
    for one in run("job list -f value -c id").split():
        run("job delete " + one)
    run("function alias delete now")
    run("function worker list %s" % function, token=ADMIN)
    run("function scaleup %s --count 2" % function)
    run("function scaledown %s --count 1" % function)
    run("function detach %s" % function)
    run("function version detach %s 1" % function)
    loaded = os.path.join(FOLDER, "loaded.zip")
    run("function download cli -o " + loaded)
    assert open(loaded, "rb").read() == open(packed, "rb").read()
    run("function execution delete --execution " + made)
    run("function execution delete --function " + function)
    run("function version delete %s 1" % function)
    run("function create --name img --image registry.invalid/none:1")
    run("function delete img")
    run("function delete cli")
    run("runtime delete " + runtime, token=ADMIN)


failed = 0
for function in steps:
    try:
        function()
        print("ok", function.__name__, flush=True)
    except BaseException:
        failed += 1
        print("failed", function.__name__, flush=True)
        traceback.print_exc(file=sys.stdout)
print("%d steps, %d failed" % (len(steps), failed))
sys.exit(1 if failed else 0)
