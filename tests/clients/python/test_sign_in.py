"""People who sign in: passwords, second factors, sessions, foreign providers (oidc-provider), and the audit log of it.

A platform of its own, which is stopped and started again; the provider runs here, on loopback, for this file alone.
"""

import base64
import hashlib
import hmac
import json
import re
import shutil
import struct
import subprocess
import tempfile
import time
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import os

import pytest
import requests
from requests.adapters import HTTPAdapter

from conftest import PATIENCE, Platform, wait_for

OFFSET, PROVIDER_PORT = 4000, 10800
BASE = f"https://localhost:{443 + OFFSET}"
ISSUER = f"https://127.0.0.1:{PROVIDER_PORT}"
OPENID = Path(__file__).parent.parent / "openid"
PASSWORD = "tallow brink seven"
DOCUMENT = Path(__file__).parents[3] / "docs/sign-in.md"


@pytest.fixture(scope="module")
def folder():
    made = Path(tempfile.mkdtemp(prefix="gantry-sign-in-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def provider(folder):
    """The provider, with a certificate of an authority that nobody else knows."""
    key, certificate = folder / "provider.key", folder / "provider.pem"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    names += ["-subj", "/CN=127.0.0.1", "-days", "2"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*make, "-keyout", key, "-out", certificate, *names], check=True, capture_output=True)
    callback = f"{BASE}/platform/v1/sign-in/openid/works/callback"
    log = open(folder / "provider.log", "w")
    command = ["node", "provider.mjs", str(PROVIDER_PORT), certificate, key, callback]
    process = subprocess.Popen(command, cwd=OPENID, stdout=log, stderr=log)
    wait_for(lambda: answers(process, certificate, folder))
    yield certificate
    process.kill()
    process.wait()


def answers(process, certificate, folder):
    assert process.poll() is None, (folder / "provider.log").read_text()
    try:
        return requests.get(f"{ISSUER}/.well-known/openid-configuration", verify=str(certificate), timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def gantry(folder, provider):
    secret = folder / "secret"
    secret.write_text("a secret of the provider's & ours\n")
    running = Platform(os.environ["GANTRY_BIN"], folder)
    running.config = folder / "gantry.toml"
    running.config.write_text(
        f"""
[ports]
offset = {OFFSET}
[[sign_in.openid]]
id = "works"
name = "Works"
issuer = "{ISSUER}"
client_id = "gantry"
client_secret_file = "{secret}"
ca_file = "{provider}"
roles = [
  {{ claim = "groups", value = "plant-admins", role = "administrator" }},
  {{ claim = "groups", value = "plant-staff", role = "viewer" }},
  {{ claim = "groups", value = "partners", role = "member" }},
]
"""
    )
    running.start()
    yield running
    running.stop()


class From(HTTPAdapter):
    """Connections from one address of this machine."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=(self.address, 0), **kwargs)


class Browser:
    """What a browser keeps: cookies, and the token that shows a call to be the page's own."""

    addresses = iter(f"127.0.{a}.{b}" for a in range(1, 200) for b in range(1, 250))

    def __init__(self, gantry, base=None, address=None):
        self.session = requests.Session()
        self.session.verify = gantry.env["GANTRY_CA_FILE"]
        self.session.trust_env = False
        self.base, self.csrf = base or BASE.replace("localhost", "127.0.0.1"), ""
        # Where `localhost` means both, the other one is refused to an address of this kind.
        self.session.mount("https://", From(address or next(self.addresses)))

    def call(self, method, path, body=None, headers=None, base="/platform/v1"):
        headers = {"x-gantry-csrf": self.csrf} if headers is None else headers
        return self.session.request(
            method, self.base + base + path, json=body, headers=headers, timeout=PATIENCE, allow_redirects=False
        )

    def open(self, answer):
        if answer.ok:
            self.csrf = answer.json()["csrf"]
        return answer

    def sign_in(self, name, password=PASSWORD, code=None):
        return self.open(self.call("POST", "/session", {"name": name, "password": password, "code": code}))

    def who(self):
        answer = self.call("GET", "/session")
        return answer.json()["user"] if answer.ok else None


def run(gantry, *words, fails=False):
    """A command of the command line; what it prints, as JSON."""
    command = [gantry.binary, "--data", str(gantry.folder / "data"), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else json.loads(done.stdout)


def link(gantry):
    """The sign-in link of the last start."""
    return re.findall(r"#signin=(\w+)", (gantry.folder / "serve.log").read_text())[-1]


@pytest.fixture(scope="module")
def admin(gantry):
    browser = Browser(gantry)
    assert browser.open(browser.call("POST", "/session", {"token": link(gantry)})).status_code == 200
    return browser


def add(gantry, name, *more):
    """Somebody who chose a password with the link of the command line."""
    url = run(gantry, "user", "add", name, *more)["url"]
    assert url.startswith(BASE + "/#password="), url
    chosen = {"token": url.split("=")[1], "password": PASSWORD}
    assert Browser(gantry).call("POST", "/sign-in/password", chosen).status_code == 204
    assert Browser(gantry).call("POST", "/sign-in/password", chosen).status_code == 403, "once"


def signed_in(gantry, name):
    browser = Browser(gantry)
    assert browser.sign_in(name).status_code == 200
    return browser


def code(secret, steps=0):
    """What an authenticator shows, so many steps from now (RFC 6238)."""
    counter = struct.pack(">Q", int(time.time()) // 30 + steps)
    mac = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    at = mac[19] & 15
    return f"{(struct.unpack('>I', mac[at : at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


def audit(admin, limit=100):
    return admin.call("GET", f"/audit?limit={limit}").json()["value"]


def test_the_administrator_comes_by_a_link_and_sets_a_password(gantry, admin):
    used = Browser(gantry).call("POST", "/session", {"token": link(gantry)})
    assert used.status_code == 401, "a link works once"
    assert admin.call("GET", "/session").json()["hasPassword"] is False
    short = admin.call("PUT", "/account/password", {"new": "short"})
    assert (short.status_code, short.json()["error"]["message"]) == (400, "password has fewer than 12 characters")
    assert admin.open(admin.call("PUT", "/account/password", {"new": PASSWORD})).status_code == 200
    assert admin.who() == "admin"
    assert signed_in(gantry, "Admin").who() == "admin"
    account = admin.call("GET", "/account").json()
    assert (account["role"], account["hasPassword"], account["hasTotp"]) == ("administrator", True, False)


def test_people_are_made_and_kept_out_by_the_command_line(gantry):
    add(gantry, "jane", "--role", "operator", "--email", "jane@works.example", "--display-name", "Jane of the works")
    assert "is there already" in run(gantry, "user", "add", "JANE", fails=True)
    users = {user["name"]: user for user in run(gantry, "user", "list")}
    assert (users["jane"]["role"], users["jane"]["email"]) == ("operator", "jane@works.example")
    jane = signed_in(gantry, "jane")
    run(gantry, "user", "disable", "jane")
    assert jane.who() is None, "their sessions end"
    assert Browser(gantry).sign_in("jane").status_code == 401
    run(gantry, "user", "enable", "jane")
    assert jane.who() is None
    run(gantry, "user", "set-role", "jane", "viewer")
    jane = signed_in(gantry, "jane")
    assert jane.call("GET", "/fleet").status_code == 200
    assert jane.call("DELETE", "/rules/x").status_code == 403
    url = run(gantry, "user", "reset-password", "jane")["url"]
    chosen = {"token": url.split("=")[1], "password": "another brink seven"}
    assert Browser(gantry).call("POST", "/sign-in/password", chosen).status_code == 204
    assert jane.who() is None and Browser(gantry).sign_in("jane").status_code == 401
    assert Browser(gantry).sign_in("jane", "another brink seven").status_code == 200
    run(gantry, "user", "delete", "jane")
    assert Browser(gantry).sign_in("jane", "another brink seven").status_code == 401
    assert "last administrator" in run(gantry, "user", "disable", "admin", fails=True)


def test_a_cookie_is_the_hosts_alone_and_a_new_one_each_time(gantry):
    add(gantry, "fix", "--role", "operator")
    browser = Browser(gantry)
    answer = browser.sign_in("fix")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-gantry_session=")
    for flag in ("HttpOnly", "Secure", "SameSite=Strict", "Path=/"):
        assert flag in cookie, cookie
    assert "Domain" not in cookie and answer.headers["cache-control"] == "no-store"
    # A session that somebody else planted is not the one that is signed in, and ends.
    planted, victim = browser.session.cookies["__Host-gantry_session"], Browser(gantry)
    victim.session.cookies.set("__Host-gantry_session", planted, domain="127.0.0.1", path="/", secure=True)
    assert victim.who() == "fix"
    assert victim.sign_in("fix").status_code == 200
    assert browser.who() is None and victim.who() == "fix"
    invented = Browser(gantry)
    invented.session.cookies.set("__Host-gantry_session", "A" * 43, domain="127.0.0.1", path="/", secure=True)
    answer = invented.sign_in("fix")
    assert "A" * 43 not in answer.headers["set-cookie"], "an id that was invented is not taken"


def test_a_cookie_alone_changes_nothing(gantry, admin):
    add(gantry, "forge", "--role", "operator")
    browser, other = signed_in(gantry, "forge"), signed_in(gantry, "forge")
    rule = {"when": {"kind": "urgency", "urgencyMin": 0.5}, "severity": "info"}
    for headers in ({}, {"x-gantry-csrf": "1"}, {"x-gantry-csrf": ""}, {"x-gantry-csrf": other.csrf}):
        assert browser.call("PUT", "/rules/forged", rule, headers).status_code == 403, headers
        told = browser.call("DELETE", "/users/forge?api-version=1.0", None, headers, "/api")
        assert told.status_code == 403, "nor in the application"
        query = {"csl": ".create table Forged (a: long)"}
        assert browser.call("POST", "/v1/rest/mgmt", query, headers, "").status_code == 403, "nor in the tables"
    asked = urllib.parse.urlencode({"csl": ".create table Forged (a: long)"})
    assert browser.call("GET", f"/v1/rest/query?{asked}", base="").status_code == 400, "a link that is followed"
    assert browser.call("PUT", "/rules/forged", rule).status_code == 200
    records = audit(admin)
    csrf = [record for record in records if record["reason"] == "csrf"]
    assert {record["operation"] for record in csrf} >= {"Rules_CreateOrUpdate", "Application_Users_Remove", "Kusto_Command"}


def test_a_code_is_good_once_and_a_recovery_code_too(gantry):
    add(gantry, "totp")
    jane = signed_in(gantry, "totp")
    begun = jane.call("POST", "/account/totp", {"password": PASSWORD}).json()
    secret = begun["secret"]
    assert begun["uri"].startswith("otpauth://totp/gantry:totp?secret=" + secret)
    confirmed = jane.call("PUT", "/account/totp", {"code": code(secret, -1)})
    recovery = confirmed.json()["recoveryCodes"]
    browser = Browser(gantry)
    missing = browser.sign_in("totp")
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "CodeMissing")
    used = code(secret)
    assert browser.sign_in("totp", code=used).status_code == 200
    assert Browser(gantry).sign_in("totp", code=used).status_code == 401, "replayed"
    assert Browser(gantry).sign_in("totp", code=code(secret, -1)).status_code == 401, "older than the last one"
    assert Browser(gantry).sign_in("totp", code=recovery[0]).json()["recoveryCodesLeft"] == 9
    assert Browser(gantry).sign_in("totp", code=recovery[0]).status_code == 401, "twice"
    assert Browser(gantry).sign_in("totp", "wrong", code=recovery[1]).status_code == 401
    assert Browser(gantry).sign_in("totp", code=recovery[1].lower().replace("-", " ")).status_code == 200
    # Kept over a restart, used codes too.
    gantry.stop()
    gantry.start()
    assert Browser(gantry).sign_in("totp", code=recovery[1]).status_code == 401
    assert Browser(gantry).sign_in("totp", code=recovery[2]).status_code == 200
    run(gantry, "user", "remove-totp", "totp")
    assert Browser(gantry).sign_in("totp").status_code == 200


def test_guessing_is_slow_and_tells_nothing(gantry, admin):
    admin.sign_in("admin")
    add(gantry, "guessed")
    known = Browser(gantry).sign_in("guessed", "wrong")
    unknown = Browser(gantry).sign_in("nobody", "wrong")
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)
    for name in ("guessed", "nobody"):
        for _ in range(4):
            assert Browser(gantry).sign_in(name, "wrong").status_code == 401
        locked = Browser(gantry).sign_in(name)
        assert locked.status_code == 429 and 1 <= int(locked.headers["retry-after"]) <= 30, name
    run(gantry, "user", "unlock", "guessed")
    assert Browser(gantry).sign_in("guessed").status_code == 200
    one = Browser(gantry, address="127.0.250.1")
    answers = [one.sign_in(f"name{n}", "wrong").status_code for n in range(21)]
    assert answers == [401] * 20 + [429], "an address that tries many names"
    links = Browser(gantry, address="127.0.250.2")
    answers = [links.call("POST", "/session", {"token": f"guess{n}"}).status_code for n in range(6)]
    assert answers == [401] * 5 + [429]
    records = audit(admin, 200)
    refused = [record for record in records if record["outcome"] == "refused" and record["operation"] == "Session_Create"]
    assert {"guessed", "(unknown user)", "(sign-in link)"} <= {record["actor"]["name"] for record in refused}
    assert "name7" not in json.dumps(records), "what nobody is called may be a password"
    assert refused[0]["from"].startswith("127.0."), refused[0]


def test_times_do_not_tell_who_exists(gantry):
    add(gantry, "timed")

    def spent(name):
        browser = Browser(gantry)
        browser.call("GET", "/session")
        begun = time.monotonic()
        assert browser.sign_in(name, "wrong").status_code == 401
        return time.monotonic() - begun

    known, unknown = [], []
    for n in range(12):
        known.append(spent("timed"))
        unknown.append(spent(f"untimed{n}"))
        run(gantry, "user", "unlock", "timed")
    # A hash takes tens of milliseconds; without one an answer is there in one or two. Others use the machine too: the
    # quickest of each tells.
    assert min(unknown) > min(known) / 3, (known, unknown)


def test_nobody_raises_themselves(gantry, admin):
    add(gantry, "op", "--role", "operator")
    operator = signed_in(gantry, "op")
    person = {"role": "administrator"}
    for method, path, body in [
        ("PUT", "/users/op", person),
        ("PUT", "/users/new", person),
        ("GET", "/users", None),
        ("POST", "/users/admin/passwordLink", None),
        ("POST", "/users/admin/totp/remove", None),
        ("DELETE", "/users/admin", None),
        ("GET", "/audit", None),
        ("GET", "/policies", None),
        ("POST", "/policies/iothubowner/roll", None),
    ]:
        assert operator.call(method, path, body).status_code == 403, path
    record = next(record for record in audit(admin) if record["operation"] == "Users_CreateOrUpdate")
    assert (record["actor"]["id"], record["reason"]) == ("op", "lacks UsersManage")
    # Fields that are not theirs to say are refused, not dropped.
    more = {"current": PASSWORD, "new": "another brink seven", "role": "administrator"}
    assert operator.call("PUT", "/account/password", more).status_code == 400
    session = admin.call("GET", "/account/sessions").json()["value"][0]["id"]
    assert operator.call("DELETE", f"/account/sessions/{session}").status_code == 404
    assert admin.who() == "admin"


def test_a_person_has_the_roles_of_the_applications_user_with_their_address(gantry, admin):
    add(gantry, "member", "--role", "member", "--email", "Member@Works.example")
    member = signed_in(gantry, "member")
    assert member.call("GET", "/fleet").status_code == 403
    devices = lambda: member.call("GET", "/devices?api-version=2022-07-31", base="/api").status_code
    assert devices() == 403
    roles = {role["displayName"]: role["id"] for role in admin.call("GET", "/roles?api-version=2022-07-31", base="/api").json()["value"]}
    user = {"type": "email", "email": "member@works.example", "roles": [{"role": roles["Administrator"]}]}
    assert admin.call("PUT", "/users/first?api-version=2022-07-31", user, base="/api").status_code == 200
    assert devices() == 200
    assert member.call("PUT", "/devices/of-member?api-version=2022-07-31", {"displayName": "x"}, base="/api").status_code == 200
    record = audit(admin, 1)[0]
    assert (record["actor"]["id"], record["operation"]) == ("member", "Application_Devices_Create"), record
    run(gantry, "user", "disable", "member")
    assert devices() == 401


class Form(HTMLParser):
    """The form of a page: where it goes, and what it says."""

    def __init__(self, text):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag == "form":
            self.action = named["action"]
        if tag == "input" and named.get("name"):
            self.fields[named["name"]] = named.get("value") or ""


class Way(Browser):
    """Somebody on their way to the provider and back."""

    def __init__(self, gantry, certificate):
        super().__init__(gantry, BASE)
        self.provider = requests.Session()
        self.provider.verify, self.provider.trust_env = str(certificate), False

    def start(self):
        answer = self.call("GET", "/sign-in/openid/works")
        assert answer.status_code == 303, answer.text
        return answer

    def at_provider(self, url, name):
        """Follows the provider's pages, through its login form, until it sends the browser back."""
        answer = self.provider.get(url, allow_redirects=False, timeout=PATIENCE)
        for _ in range(12):
            if answer.is_redirect:
                to = urllib.parse.urljoin(answer.url, answer.headers["location"])
                if to.startswith(BASE):
                    return to
                answer = self.provider.get(to, allow_redirects=False, timeout=PATIENCE)
                continue
            form = Form(answer.text)
            assert form.action, answer.text
            fields = {**form.fields, **({"login": name, "password": "any"} if "login" in form.fields else {})}
            action = urllib.parse.urljoin(answer.url, form.action)
            answer = self.provider.post(action, fields, allow_redirects=False, timeout=PATIENCE)
        raise AssertionError(answer.text)

    def back(self, url):
        answer = self.session.get(url, allow_redirects=False, timeout=PATIENCE)
        assert answer.status_code == 303, answer.text
        if answer.headers["location"] == "/":
            self.open(self.call("GET", "/session"))
        return answer.headers["location"]

    def through(self, name):
        return self.back(self.at_provider(self.start().headers["location"], name))


def reason(admin):
    """Why the last callback was refused."""
    record = next(record for record in audit(admin) if record["operation"] == "SignIn_OpenIdCallback")
    assert record["outcome"] == "refused", record
    return record["reason"]


def test_somebody_signs_in_with_a_provider(gantry, admin, provider):
    admin.sign_in("admin")
    assert admin.call("GET", "/sign-in").json() == {"openId": [{"id": "works", "name": "Works"}]}
    alice = Way(gantry, provider)
    start = alice.start()
    state = start.headers["set-cookie"]
    assert state.startswith("__Host-gantry_sign_in=") and "SameSite=Lax" in state and "HttpOnly" in state
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(start.headers["location"]).query))
    assert (asked["response_type"], asked["code_challenge_method"], asked["client_id"]) == ("code", "S256", "gantry")
    assert alice.back(alice.at_provider(start.headers["location"], "alice")) == "/"
    account = alice.call("GET", "/account").json()
    assert (account["displayName"], account["email"]) == ("alice of Works", "alice@works.example")
    assert (account["role"], account["issuer"], account["hasPassword"]) == ("administrator", ISSUER, False)
    assert alice.call("GET", "/users").status_code == 200
    assert alice.call("PUT", "/account/password", {"new": PASSWORD}).status_code == 409, "the provider keeps it"
    record = next(record for record in audit(admin) if record["operation"] == "SignIn_OpenIdCallback")
    assert (record["outcome"], record["actor"]["name"], record["target"]) == ("done", "alice of Works", "works")
    bob = Way(gantry, provider)
    assert bob.through("bob") == "/"
    assert bob.call("GET", "/fleet").status_code == 200 and bob.call("GET", "/users").status_code == 403
    carol = Way(gantry, provider)
    assert carol.through("carol") == "/"
    assert carol.call("GET", "/fleet").status_code == 403, "a member's roles are the application's"
    # Somebody of a provider is nobody's namesake here, and can be kept out.
    named = Way(gantry, provider)
    assert named.through("admin") == "/#refused", "no group"
    name = bob.call("GET", "/account").json()["name"]
    assert re.fullmatch(r"[0-9a-f-]{36}", name)
    raised = {"role": "administrator", "displayName": "bob of Works", "email": "bob@works.example"}
    assert admin.call("PUT", f"/users/{name}", raised).status_code == 409, "roles are the provider's to give"
    run(gantry, "user", "disable", name)
    assert bob.who() is None
    assert Way(gantry, provider).through("bob") == "/#refused"
    assert reason(admin) == f"user `{name}` is disabled"


def test_who_may_not_or_is_not_verified_is_refused(gantry, admin, provider):
    for name, why in [("eve", "no rule gives user `eve of Works` a role"), ("mallory", "not verified by the provider")]:
        way = Way(gantry, provider)
        assert way.through(name) == "/#refused"
        assert why in reason(admin) and way.who() is None


def test_a_callback_of_another_way_is_refused(gantry, admin, provider):
    def changed(url, **values):
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query)) | values
        query = {name: value for name, value in query.items() if value is not None}
        return parts._replace(query=urllib.parse.urlencode(query)).geturl()

    def refused(why, act):
        way = Way(gantry, provider)
        back = way.at_provider(way.start().headers["location"], "alice")
        assert act(way, back) == "/#refused" and way.who() is None
        assert why in reason(admin), (why, reason(admin))

    refused("state is not that of the browser's cookie", lambda way, back: way.back(changed(back, state="x" * 43)))
    refused("callback has no `state`", lambda way, back: way.back(changed(back, state=None)))
    refused("callback has no `iss`", lambda way, back: way.back(changed(back, iss=None)))
    refused("callback is of issuer", lambda way, back: way.back(changed(back, iss="https://other.example")))
    refused("callback has no `code`", lambda way, back: way.back(changed(back, code=None)))
    refused("parameter `code` is there twice", lambda way, back: way.back(back + "&code=2"))
    refused("provider refuses: `access_denied`", lambda way, back: way.back(changed(back, error="access_denied")))
    refused("provider refuses the code: `invalid_grant`", lambda way, back: way.back(changed(back, code="guess")))
    # Somebody else's browser, which has a state of its own or none: nobody signs another in as themselves.
    refused("not that of the browser's cookie", lambda way, back: Way(gantry, provider).back(back))

    def other(way, back):
        victim = Way(gantry, provider)
        victim.start()
        return victim.back(back)

    refused("not that of the browser's cookie", other)

    def replayed(way, back):
        state = way.session.cookies["__Host-gantry_sign_in"]
        assert way.back(back) == "/"
        way.session.cookies.clear()
        way.session.cookies.set("__Host-gantry_sign_in", state, domain="localhost.local", path="/", secure=True)
        return way.session.get(back, headers={"cookie": f"__Host-gantry_sign_in={state}"}, allow_redirects=False).headers["location"]

    refused("is unknown, was finished or took longer", replayed)

    def code_again(way, back):
        """The code of a way that is over, on another."""
        used = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
        assert way.back(back) == "/"
        again = Way(gantry, provider)
        fresh = again.at_provider(again.start().headers["location"], "alice")
        way.session.cookies.clear()
        return again.back(changed(fresh, code=used))

    refused("provider refuses the code: `invalid_grant`", code_again)

    def restarted(way, back):
        gantry.stop()
        gantry.start()
        admin.sign_in("admin")
        return way.back(back)

    refused("is unknown, was finished or took longer", restarted)


def test_an_id_token_that_is_wrong_in_any_way_is_refused(gantry, admin, provider):
    tampered = lambda how: requests.post(f"{ISSUER}/tamper", params={"how": how}, verify=str(provider), timeout=PATIENCE)
    ways = {
        "audience": "id token is for `another`",
        "audiences": "id token is for `gantry another`",
        "nonce": "id token's nonce is not ours",
        "issuer": "id token is of issuer",
        "expired": "id token: ",
        "old": "id token: ",
        "key": "id token: ",
        "none": "id token: ",
        "hmac": "id token: ",
    }
    try:
        for how, why in ways.items():
            assert tampered(how).status_code == 204
            way = Way(gantry, provider)
            assert way.through("alice") == "/#refused" and way.who() is None, how
            assert reason(admin).startswith(why), (how, reason(admin))
    finally:
        tampered("")
    # A nonce that is changed on the way there, as somebody could who sees the address.
    way = Way(gantry, provider)
    there = re.sub(r"nonce=[\w%-]+", "nonce=another", way.start().headers["location"])
    assert way.back(way.at_provider(there, "alice")) == "/#refused"
    assert reason(admin) == "id token's nonce is not ours"
    # A code for another client of the same provider.
    way = Way(gantry, provider)
    there = way.start().headers["location"].replace("client_id=gantry", "client_id=another")
    assert way.back(way.at_provider(there, "alice")) == "/#refused"
    assert "invalid_grant" in reason(admin)
    assert Way(gantry, provider).through("alice") == "/"
    assert "a secret of the provider" not in (gantry.folder / "serve.log").read_text()


def test_the_audit_log_says_who_did_what(gantry, admin):
    add(gantry, "audited", "--role", "administrator")
    browser = signed_in(gantry, "audited")
    rule = {"when": {"kind": "urgency", "urgencyMin": 0.5}, "severity": "info"}
    assert browser.call("PUT", "/rules/audited", rule).status_code == 200
    records = audit(browser, 10)
    kinds = [(record["operation"], record["outcome"], record["actor"]["kind"], record["actor"]["id"]) for record in records]
    assert kinds[0] == ("Rules_CreateOrUpdate", "done", "user", "audited")
    assert ("Session_Create", "done", "user", "audited") in kinds
    assert ("Users_CreateOrUpdate", "done", "key", "iothubowner") in kinds, "the command line, over the API"
    assert ("SignIn_ChoosePassword", "done", "user", "audited") in kinds
    assert records[0]["target"] == "/platform/v1/rules/audited" and records[0]["from"].startswith("127.0.")
    assert PASSWORD not in json.dumps(audit(browser, 1000)), "no secret is in it"
    listed = run(gantry, "audit", "list", "--limit", "3")
    assert len(listed) == 3 and listed[0]["number"] == listed[1]["number"] + 1
    verified = run(gantry, "audit", "verify")
    assert verified["broken"] is None
    run(gantry, "audit", "verify", "--anchor", verified["head"])
    number, mac = verified["head"].split(":")
    later = f"{int(number) + 1000}:{mac}"
    assert "was written" in run(gantry, "audit", "verify", "--anchor", later, fails=True)


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize("how", ["edited", "cut", "reordered", "removed", "edited while stopped", "cut while stopped"])
def test_a_log_that_was_changed_is_seen(gantry, how):
    """Each on the log as it is by then; what was done is undone, and the log is whole again."""
    for _ in range(6):
        run(gantry, "user", "unlock", "admin")
    assert run(gantry, "audit", "verify")["broken"] is None
    path = sorted((gantry.folder / "data/audit").glob("*.jsonl"))[-1]
    if how.endswith("stopped"):
        gantry.stop()
    before = path.read_text()
    lines = lines_of(path)
    middle = len(lines) // 2
    number = json.loads(lines[middle])["number"]
    if how.startswith("edited"):
        lines[middle] = lines[middle].replace('"kind":"key"', '"kind":"user"').replace("127.0.0.1", "127.0.0.2")
        lines[middle] = re.sub(r'"operation":"[^"]*"', '"operation":"Nothing_AtAll"', lines[middle])
        expected = f"record {number} is not what was written"
    elif how.startswith("cut"):
        lines = lines[:-1]
        expected = "was written" if how == "cut" else "must be"
    elif how == "reordered":
        lines[middle], lines[middle + 1] = lines[middle + 1], lines[middle]
        expected = f"record {number + 1} is where record {number} must be"
    else:
        del lines[middle]
        expected = f"record {number + 1} is where record {number} must be"
    path.write_text("".join(lines))
    if how.endswith("stopped"):
        gantry.start()
        # It goes on in a new file, and what was done stays to be seen.
        run(gantry, "user", "unlock", "admin")
        assert expected in run(gantry, "audit", "verify", fails=True)
        gantry.stop()
        for later in sorted((gantry.folder / "data/audit").glob("*.jsonl")):
            if later > path:
                later.unlink()
        path.write_text(before)
        gantry.start()
        told = run(gantry, "audit", "verify", fails=True)
        assert "must be" in told or "was written" in told, "what came after is missing now"
        gantry.stop()
        shutil.rmtree(gantry.folder / "data")
        gantry.start()
        return
    assert expected in run(gantry, "audit", "verify", fails=True)
    path.write_text(before)
    assert run(gantry, "audit", "verify")["broken"] is None


def test_sessions_end_with_the_process_and_people_stay(gantry):
    add(gantry, "stays")
    browser = signed_in(gantry, "stays")
    gantry.stop()
    gantry.start()
    assert browser.who() is None
    assert signed_in(gantry, "stays").who() == "stays"


def test_every_command_of_the_guide_does_what_it_says(gantry):
    text = DOCUMENT.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    commands = [line for language, block in blocks if not language for line in block.splitlines()]
    assert len(commands) >= 10, commands
    for line in commands:
        words = line.split("#")[0].split()[1:]
        if words[:2] == ["audit", "verify"] and "--anchor" in words:
            words[words.index("--anchor") + 1] = run(gantry, "audit", "verify")["head"]
        run(gantry, *words, fails="# fails" in line)
