"""Faults of a Phoenix router, of an endpoint and of configuration files, which Sobelow judges as the project's own."""

from __future__ import annotations

from random import Random
from string import Template

from elixir_coder.data.injections.rule import Fault, Piece, rule
from elixir_coder.data.injections.words import Words, snake


def _filled(text: str, words: Words, **more: str) -> str:
    names = {**words.names, **more}
    return Template(text).safe_substitute(names)


_ROUTER = """\
defmodule $web.Router do
  use $web, :router

  pipeline :$pipeline do
$plugs  end
$api
  scope "$scope", $web do
    pipe_through :$pipeline

$routes  end
end
"""
_API = '\n  pipeline :api do\n    plug :accepts, ["json"]\n  end\n'


def _router(piece: Piece, random: Random, plugs: list[str], routes: list[str]) -> tuple[str, str, dict[str, str]]:
    words = Words(piece, random)
    root = words["root"] + random.choice(("Web", "Web", ".Web"))
    pipeline = random.choice(("browser", "browser", words["item"], f"{words['item']}_pages"))
    extra = random.sample(
        [
            f"plug :put_{words['field']}",
            "plug :fetch_live_flash",
            "plug :fetch_flash",
            f"plug {root}.Plugs.{words['Third']}",
        ],
        random.randint(0, 2),
    )
    listed = "".join(f"    {line}\n" for line in [*plugs, *extra])
    own = [
        f'get "/{words["items"]}", {words["Item"]}Controller, :index',
        f'get "/{words["items"]}/:id", {words["Item"]}Controller, :show',
        f'get "/{words["others"]}", {words["Other"]}Controller, :index',
        f'get "/", PageController, :{words["field4"]}',
    ]
    chosen = routes or random.sample(own, random.randint(1, 3))
    text = _filled(
        _ROUTER,
        words,
        web=root,
        pipeline=pipeline,
        plugs=listed,
        api=random.choice(("", _API)),
        scope=random.choice(("/", "/", f"/{words['third']}")),
        routes="".join(f"    {line}\n" for line in chosen),
    )
    return text, f"lib/{snake(words['root'])}_web/router.ex", {"pipeline": pipeline, "router": f"{root}.Router"}


_ACCEPTS = 'plug :accepts, ["html"]'
_POLICY = 'plug :put_secure_browser_headers, %{"content-security-policy" => "$policy"}'
_POLICIES = (
    "default-src 'self'",
    "default-src 'self'; img-src 'self' data:",
    "script-src 'self'; object-src 'none'",
    "default-src 'self'; frame-ancestors 'none'",
    "default-src 'none'; style-src 'self'",
)


def _plugs(random: Random) -> dict[str, str]:
    policy = _POLICY.replace("$policy", random.choice(_POLICIES))
    return {
        "accepts": _ACCEPTS,
        "session": "plug :fetch_session",
        "csrf": "plug :protect_from_forgery",
        "headers": policy,
    }


def _pipeline_rule(check: str, missing: str, says: tuple[str, ...], name: str) -> None:
    def write(piece: Piece, random: Random) -> Fault | None:
        plugs, seed = _plugs(random), random.random()
        good = list(plugs.values())
        bad = [line for key, line in plugs.items() if key != missing]
        if missing == "csp":
            bad = [line if "headers" not in line else "plug :put_secure_browser_headers" for line in good]
        (code, path, names), (before, _, _) = (_router(piece, Random(seed), lines, []) for lines in (good, bad))
        return Fault(code=code, before=before, names=names, path=path, kind="module")

    rule(check, *says, name=name)(write)


_pipeline_rule(
    "Config.CSRF",
    "csrf",
    (
        (
            "The pipeline `:$pipeline` fetches the session and does not protect from forged requests "
            "(CWE-352): another site can post in the user's name. Add `plug :protect_from_forgery`."
        ),
        "Cross-site request forgery, CWE-352: `:$pipeline` has a session but no `:protect_from_forgery`.",
    ),
    "no_forgery_protection",
)
_pipeline_rule(
    "Config.Headers",
    "headers",
    (
        (
            "Pages of `:$pipeline` are sent without the secure headers that keep them out of frames "
            "and their types from being guessed (CWE-693). Add `plug :put_secure_browser_headers`."
        ),
        (
            "The pipeline `:$pipeline` accepts HTML and sets no protective headers, CWE-693. "
            "`:put_secure_browser_headers` does."
        ),
    ),
    "no_secure_headers",
)
_pipeline_rule(
    "Config.CSP",
    "csp",
    (
        (
            "`:$pipeline` sends no content security policy, so that a script that gets into a page "
            'runs (CWE-693, CWE-1021). Pass `"content-security-policy"` to '
            "`:put_secure_browser_headers`."
        ),
        (
            "The headers of `:$pipeline` lack a Content-Security-Policy, CWE-693. Even `default-src "
            "'self'` stops most injected scripts."
        ),
    ),
    "no_content_security_policy",
)


@rule(
    "Config.CSRFRoute",
    (
        "`$action` of `$controller` is reached by GET and by $verb alike; a forged link can then "
        "change things (CWE-352). Give the change an action of its own."
    ),
    (
        "Action reuse, CWE-352: the route `get` for `:$action` goes around the protection that "
        "$verb has. Route it to another action."
    ),
)
def action_for_get_and_post(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    verb = random.choice(("post", "put", "patch", "delete"))
    action, read = (
        random.choice(("create", "update", "import", "archive", "save")),
        random.choice(("new", "edit", "show", "index")),
    )
    controller, path = (
        f"{words['Item']}Controller",
        f"/{words['items']}" + random.choice(("", f"/{words['field']}", "/:id")),
    )
    routes = [
        f'{verb} "{path}", {controller}, :{action}',
        f'get "/{words["others"]}", {words["Other"]}Controller, :index',
    ]
    seed, plugs = random.random(), list(_plugs(random).values())
    good = [f'get "{path}", {controller}, :{read}', *routes]
    bad = [f'get "{path}", {controller}, :{action}', *routes]
    (code, place, names), (before, _, _) = (_router(piece, Random(seed), plugs, lines) for lines in (good, bad))
    names |= {"action": action, "controller": controller, "verb": verb.upper()}
    return Fault(code=code, before=before, names=names, path=place, kind="module")


_ENDPOINT = """\
defmodule $web.Endpoint do
  use Phoenix.Endpoint, otp_app: :$app

$before  socket "/$socket", $web.$handler, $options

  plug Plug.RequestId
$plugs  plug $web.Router
end
"""


@rule(
    "Config.CSWH",
    (
        "The socket `/$socket` takes connections from any origin, since `check_origin` is "
        "`$value`: a foreign page can use a visitor's session (CWE-1385). Name the hosts that may "
        "connect."
    ),
    (
        "Cross-site WebSocket hijacking, CWE-1385: `$handler` does not check where a connection "
        "comes from. Leave `check_origin` on."
    ),
)
def any_origin(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    web = words["root"] + "Web"
    socket = random.choice(("live", "socket", words["items"], f"{words['item']}/websocket", "ws"))
    handler = "UserSocket" if socket != "live" else "LiveSocket"
    handler = random.choice((handler, words["Item"] + "Socket"))
    other = random.choice(
        (
            "timeout: 45_000",
            "compress: true",
            "connect_info: [:peer_data]",
            f'path: "/{words["field"]}"',
            "transport_log: :debug",
            "max_frame_size: 64_000",
        )
    )
    safe = random.choice(("[{other}]", "[check_origin: true, {other}]", "[{other}, check_origin: true]"))
    bad = random.choice(("[check_origin: false]", "[check_origin: false, {other}]", "[{other}, check_origin: false]"))
    tail = random.choice(("", ", longpoll: false", ", longpoll: true"))
    before = random.choice(
        (
            "",
            (
                f'  @session_options [store: :cookie, key: "_{words["app"]}_key", signing_salt: '
                f'"{words["item"]}{words["n"]}"]\n'
                f"\n"
            ),
        )
    )
    plugs = "".join(
        f"  {line}\n"
        for line in random.sample(
            [
                "plug Plug.MethodOverride",
                "plug Plug.Head",
                "plug Plug.Telemetry, event_prefix: [:phoenix, :endpoint]",
                f"plug {web}.Plugs.{words['Third']}",
            ],
            random.randint(0, 3),
        )
    )
    texts = [
        _filled(
            _ENDPOINT,
            words,
            web=web,
            app=words["app"],
            socket=socket,
            handler=handler,
            before=before,
            plugs=plugs,
            options=f"websocket: {how.format(other=other)}{tail}",
        )
        for how in (safe, bad)
    ]
    path = f"lib/{snake(words['root'])}_web/endpoint.ex"
    return Fault(
        code=texts[0],
        before=texts[1],
        names={"socket": socket, "handler": handler, "value": "false"},
        path=path,
        kind="module",
    )


_PORTS = ("443", "8443", '{:system, "HTTPS_PORT"}', "4443")


def _configuration(piece: Piece, random: Random, lines: list[str]) -> str:
    """A configuration file with settings of the endpoint in the midst of others."""
    words = Words(piece, random)
    app, web = words["app"], words["root"] + "Web.Endpoint"
    others = [
        "config :logger, level: :info",
        f"config :{app}, :{words['items']}, [:{words['field']}, :{words['field2']}]",
        f"config :{app}, {words['root']}.{words['Item']}, {words['field3']}: {words['n']}",
        f"config :{app}, {words['root']}.Repo, pool_size: {words['m']}",
        "config :phoenix, :json_library, Jason",
        f'config :{app}, {words["field4"]}: "{words["third"]}"',
    ]
    chosen = random.sample(others, random.randint(1, 4))
    host = f'url: [host: "{words["item"]}.example.org", port: {random.choice(("80", "443"))}]'
    settings = [
        random.choice(
            (
                host,
                'cache_static_manifest: "priv/static/cache_manifest.json"',
                "server: true",
                f"http: [port: 40{words['m']}0]",
            )
        ),
        *lines,
    ]
    block = f"config :{app}, {web},\n  " + ",\n  ".join(settings)
    blocks = [block, *chosen] if random.random() < 0.5 else [*chosen, block]
    return random.choice(("import Config", "import Config", "use Mix.Config")) + "\n\n" + "\n\n".join(blocks) + "\n"


@rule(
    "Config.HTTPS",
    (
        "`config/prod.exs` says nothing of HTTPS, so that everything travels in the clear "
        "(CWE-319). Set `force_ssl`, or configure `https:`."
    ),
    "In production the endpoint of `$root` speaks plain HTTP, CWE-319. Add `force_ssl: [hsts: true]` to its settings.",
)
def no_https(piece: Piece, random: Random) -> Fault | None:
    secure = random.choice(
        (
            "force_ssl: [hsts: true]",
            "force_ssl: [rewrite_on: [:x_forwarded_proto], hsts: true]",
            "force_ssl: [hsts: true, expires: 31_536_000]",
            "force_ssl: [host: nil, hsts: true]",
        )
    )
    seed = random.random()
    code, before = (_configuration(piece, Random(seed), lines) for lines in ([secure], []))
    return Fault(
        code=code,
        before=before,
        names={"root": Words(piece, Random(seed))["root"]},
        path="config/prod.exs",
        kind="file",
    )


@rule(
    "Config.HSTS",
    (
        "`$path` turns HTTPS on and not HSTS: a browser's first request may still go out in the "
        "clear (CWE-523). Add `force_ssl: [hsts: true]`."
    ),
    "Without Strict-Transport-Security a visitor can be kept on HTTP, CWE-523. Set `force_ssl` beside `https:`.",
)
def no_strict_transport(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    https = f'https: [port: {random.choice(_PORTS)}, cipher_suite: :strong, certfile: "priv/cert/{words["item"]}.pem"]'
    https = random.choice((https, f"https: [port: {random.choice(_PORTS)}]"))
    secure = random.choice(
        ("force_ssl: [hsts: true]", "force_ssl: [hsts: true, host: nil]", "force_ssl: [hsts: true, subdomains: true]")
    )
    path = random.choice(("config/prod.exs", "config/staging.exs", "config/demo.exs"))
    seed = random.random()
    code, before = (_configuration(piece, Random(seed), lines) for lines in ([https, secure], [https]))
    return Fault(code=code, before=before, names={"path": path}, path=path, kind="file")


@rule(
    "Config.Secrets",
    (
        "A secret, `$key`, is written into `$path` and with that into every copy of the code "
        '(CWE-798). Read it from the environment: `System.fetch_env!("$variable")`.'
    ),
    "Hard-coded credentials, CWE-798: whoever can read `$path` has the `$key`. Take it from an environment variable.",
)
def secret_in_the_file(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    key = random.choice(
        (
            "secret_key_base",
            "password",
            f"{words['item']}_secret",
            f"{words['other']}_password",
            "client_secret",
            "smtp_password",
        )
    )
    value = "".join(
        random.choice("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
        for _ in range(random.choice((16, 24, 32, 64)))
    )
    variable = f"{words['app']}_{key}".upper()
    path = random.choice(("config/prod.exs", "config/staging.exs", "config/runtime.exs", "config/demo.exs"))
    secure = ["force_ssl: [hsts: true]"] if path == "config/prod.exs" else []
    seed = random.random()
    code, before = (
        _configuration(piece, Random(seed), [*secure, f"{key}: {given}"])
        for given in (f'System.fetch_env!("{variable}")', f'"{value}"')
    )
    return Fault(
        code=code, before=before, names={"key": key, "path": path, "variable": variable}, path=path, kind="file"
    )
