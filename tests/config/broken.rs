//! Broken files: what is added where, and the line, the column and some words of each problem.
use super::At::{self, Cluster, Listener, Route, Top, Whole};

type Case = (At, &'static str, &'static [(&'static str, &'static str)]);

pub const FILES: &[Case] = &[
    // Syntax
    (Whole, "workers = \n", &[("1:11", "error: ")]),
    (Whole, "workers = 1\nworkers = 2\n", &[("2:1", "duplicate key")]),
    (Whole, "engine = \"async\nworkers = 1\n", &[("1:16", "invalid basic string")]),
    (Whole, "workers = 01\n", &[("1:11", "unexpected leading zero")]),
    (Whole, "engine = async\n", &[("1:10", "string values must be quoted")]),
    (Whole, "[clusters.web\n", &[("1:14", "unclosed table")]),
    // Keys that are missing
    (Whole, "", &[("1:1", "missing `listeners`"), ("1:1", "missing `routes`")]),
    (Whole, "[[listeners]]\nlisten = \"[::1]:0\"\n", &[("1:1", "missing `routes`")]),
    (
        Whole,
        "[[listeners]]\n[[routes]]\nredirect = \"/x\"\n",
        &[("1:1", "missing key `listen` in `listeners`")],
    ),
    (Top, "[clusters.a]\npolicy = \"random\"\n", &[("1:1", "missing key `backends` in `clusters.a`")]),
    (Cluster, "sticky = { name = \"sid\" }", &[("5:10", "missing key `key` in `clusters.web.sticky`")]),
    (Top, "[admin]\ndrain_delay_seconds = 1", &[("1:1", "missing key `listen` in `admin`")]),
    (
        Whole,
        "[[listeners]]\nlisten = \"[::1]:0\"\n[[routes]]\npath = \"/\"\n",
        &[("3:1", "expected exactly one of `cluster`, `files` and `redirect`")],
    ),
    // Keys that are unknown
    (Top, "workrs = 2", &[("1:1", "did you mean `workers`?")]),
    (Top, "polcy = \"random\"", &[("1:1", "`policy` belongs to `clusters.NAME`")]),
    (Top, "zebra = 1", &[("1:1", "the keys here are engine, workers, ")]),
    (Top, "[limits]\nhead-timeout-ms = 5", &[("2:1", "did you mean `head_timeout_ms`?")]),
    (Listener, "workers = 2", &[("3:1", "`workers` stands before the first table")]),
    (Listener, "lisen = \"x\"", &[("3:1", "unknown key `lisen` in `listeners`")]),
    (Cluster, "chek = \"tcp\"", &[("5:1", "did you mean `check`?")]),
    (Cluster, "response_timeout = 5", &[("5:1", "did you mean `response_timeout_ms`?")]),
    (Route, "host = \"a\"", &[("7:1", "did you mean `hosts`?")]),
    (Route, "[router]\nx = 1", &[("7:2", "did you mean `routes`?")]),
    (
        Top,
        "[clusters.w]\nbackends = [{ address = \"[::1]:1\", wieght = 2 }]\n",
        &[("2:36", "did you mean `weight`?")],
    ),
    // Types
    (Top, "workers = \"2\"", &[("1:11", "expected a whole number from 1 to 1024, found a string")]),
    (Top, "workers = 2.0", &[("1:11", "found a number with a fraction")]),
    (Top, "engine = 1", &[("1:10", "expected \"thread\" or \"async\", found a whole number")]),
    (Top, "stats = true", &[("1:9", "expected a string (a path), found true or false")]),
    (Top, "limits = 5", &[("1:10", "expected a table, found a whole number")]),
    (Top, "batch = 2026-11-29", &[("1:9", "found a date or time")]),
    (Listener, "trust = [1]", &[("3:10", "expected a string (CIDR), found a whole number")]),
    (Cluster, "retry_answers = \"yes\"", &[("5:17", "expected true or false, found a string")]),
    (Cluster, "sticky = \"sid\"", &[("5:10", "expected a table, found a string")]),
    (Route, "hosts = 5", &[("7:9", "expected a string (HOST) or a list")]),
    (
        Route,
        "set_request_headers = [\"A: b\"]",
        &[("7:23", "expected a table of values by field name, found a list")],
    ),
    (Route, "set_request_headers = { A = 1 }", &[("7:29", "wrong type for `routes.set_request_headers.A`")]),
    (
        Whole,
        "listeners = 1\nroutes = 2\n",
        &[("1:13", "expected tables, found a whole number"), ("2:10", "expected tables")],
    ),
    (
        Whole,
        "[[listeners]]\nlisten = []\n[[routes]]\nredirect = \"/x\"\n",
        &[("2:10", "`listeners.listen` is empty")],
    ),
    // Numbers and deadlines
    (Top, "workers = 0", &[("1:11", "expected a whole number from 1 to 1024")]),
    (Top, "workers = -1", &[("1:11", "invalid value `-1` for `workers`")]),
    (Top, "workers = 99999999999999999999", &[("1:11", "from 1 to 1024")]),
    (Top, "[limits]\ndrain_seconds = 86401", &[("2:17", "expected a whole number from 0 to 86400")]),
    (Listener, "head_timeout_ms = 0", &[("3:19", "expected a whole number from 1 to 86400000")]),
    (Listener, "head_bytes = 100", &[("3:14", "expected a whole number from 512 to ")]),
    (
        Cluster,
        "connect_timeout_ms = 0",
        &[("5:22", "invalid value `0` for `clusters.web.connect_timeout_ms`")],
    ),
    (Cluster, "panic_percent = 101", &[("5:17", "expected a whole number from 0 to 100")]),
    (Route, "response_timeout_ms = 0", &[("7:23", "invalid value `0` for `routes.response_timeout_ms`")]),
    (Top, "[admin]\nlisten = \"127.0.0.1:0\"\ndrain_delay_seconds = 3601", &[("3:23", "from 0 to 3600")]),
    // Values of a form
    (Top, "engine = \"asink\"", &[("1:10", "did you mean \"async\"?")]),
    (Cluster, "policy = \"best\"", &[("5:10", "expected one of round-robin, least-requests, ")]),
    (Cluster, "check = \"up\"", &[("5:9", "expected tcp, or a path that begins with a /")]),
    (
        Cluster,
        "sticky = { name = \"a b\", key = \"00112233445566778899aabbccddeeff\" }",
        &[("5:19", "expected the name of a cookie")],
    ),
    (Cluster, "sticky = { name = \"a\", key = \"1\" }", &[("5:30", "expected 32 hexadecimal digits")]),
    (Listener, "trust = \"10.0.0.0/33\"", &[("3:9", "expected a network or an address")]),
    (
        Listener,
        "trust = [\"10.0.0.0/8\", \"::1/129\"]",
        &[("3:24", "invalid value `::1/129` for `listeners.trust`")],
    ),
    (Top, "[admin]\nlisten = \":9000\"", &[("2:10", "expected PORT or HOST:PORT, such as")]),
    (Top, "[admin]\nlisten = \"[::1]:0\"\ntoken_file = \"no/such/file\"", &[("3:14", "cannot read it: ")]),
    (
        Whole,
        "[[listeners]]\nlisten = [\"127.0.0.1:0\", \"here\"]\n[[routes]]\nredirect = \"/x\"\n",
        &[("2:26", "invalid value `here` for `listen`")],
    ),
    // Settings that exclude or need each other
    (Top, "pool = \"rayon\"", &[("1:1", "`pool` cannot be used with `engine = \"async\"`")]),
    (
        Top,
        "engine = \"thread\"\nreactor = \"edge\"",
        &[("2:1", "the thread engine has no choice of reactors")],
    ),
    (
        Top,
        "reactor = \"smol\"\nmax_in_flight_per_core = 5",
        &[("2:1", "`max_in_flight_per_core` cannot be used with `reactor = \"smol\"`")],
    ),
    (
        Top,
        "reactor = \"smol\"\nhandshakes = \"pool\"",
        &[("2:1", "`handshakes` cannot be used with `reactor = \"smol\"`")],
    ),
    (Cluster, "check_rise = 2", &[("5:1", "`check_rise` needs `check`")]),
    (
        Cluster,
        "check = \"tcp\"\ncheck_status = 200",
        &[("6:1", "use `check = \"/PATH\"` to look at a response")],
    ),
    (Cluster, "check = 5\ncheck_rise = 2", &[("5:9", "expected a string (tcp|/PATH), found a whole number")]),
    (Route, "status = 301", &[("7:1", "`status` needs `redirect`")]),
    (Route, "files = \"src\"", &[("7:1", "`files` cannot be used with `cluster`")]),
    // Listeners and backends
    (
        Listener,
        "[[listeners]]\nlisten = [\"127.0.0.1:81\", \"127.0.0.1:81\"]\n",
        &[("4:27", "the address 127.0.0.1:81 is used twice")],
    ),
    (
        Listener,
        "name = \"a\"\n[[listeners]]\nlisten = \"127.0.0.1:0\"\nname = \"a\"\n",
        &[("6:8", "two listeners have the name `a`")],
    ),
    (Top, "[clusters.w]\nbackends = [\"127.0.0.1\"]\n", &[("2:13", "expected HOST:PORT")]),
    (Top, "[clusters.w]\nbackends = [\"[::1]:1,cost=2\"]\n", &[("2:13", "found the option 'cost=2'")]),
    (
        Top,
        "[clusters.w]\nbackends = [{ address = \"a/b:1\" }]\n",
        &[("2:25", "invalid value `a/b:1` for `address`")],
    ),
    (Top, "[[listeners]]\nlisten = \"h.invalid:80\"\n", &[("2:10", "unknown host: ")]),
    (Top, "[clusters.w]\nbackends = [\"a..b:80\"]\n", &[("2:13", "expected HOST:PORT, such as")]),
    (Top, "[clusters.w]\nbackends = [\"web.example:0\"]\n", &[("2:13", "expected HOST:PORT, such as")]),
    (Top, "[clusters.w]\nbackends = [\"10.0.0.300:80\"]\n", &[("2:13", "expected HOST:PORT, such as")]),
    (
        Top,
        "[clusters.w]\nbackends = [{ address = \"srv:web:80\" }]\n",
        &[("2:25", "invalid value `srv:web:80` for `address`")],
    ),
    (
        Top,
        "[clusters.w]\nbackends = [\"web.example:80\", { address = \"Web.example:80\" }]\n",
        &[("2:43", "the backend web.example:80 is given twice")],
    ),
    (Top, "resolver = \"dns.example\"\n", &[("1:12", "expected the address of a DNS server")]),
    (
        Top,
        "[clusters.w]\nbackends = [\"[::1]:1\", { address = \"[::1]:1\" }]\n",
        &[("2:36", "the backend [::1]:1 is given twice")],
    ),
    (
        Top,
        "[clusters.w]\nbackends = [{ address = \"[::1]:1\", cap = \"all\" }]\n",
        &[("2:42", "expected \"auto\"")],
    ),
    (
        Top,
        "[clusters.w]\nbackends = [{ address = \"[::1]:1\", cap = 0 }]\n",
        &[("2:42", "expected a whole number from 1 to 1000000")],
    ),
    (Top, "[clusters.\"a b\"]\nbackends = [\"[::1]:1\"]\n", &[("1:11", "invalid name `a b` of a cluster")]),
    // Routes
    (Route, "[[routes]]\ncluster = \"wbe\"\npath = \"/b\"\n", &[("8:11", "did you mean \"web\"?")]),
    (
        Route,
        "[[routes]]\ncluster = \"shop\"\npath = \"/b\"\n",
        &[("8:11", "expected the name of a cluster: web")],
    ),
    (Route, "[[routes]]\ncluster = \"web\"\n", &[("7:1", "two routes are for any host and the path `/`")]),
    (
        Route,
        "hosts = \"a.example\"\n[[routes]]\nredirect = \"/x\"\nhosts = [\"b.example\", \"A.example\"]\n",
        &[("10:9", "two routes are for the hosts `b.example`, `a.example` and the path `/`")],
    ),
    (
        Route,
        "path = \"/a/\"\n[[routes]]\nredirect = \"/x\"\npath = \"/a\"\n",
        &[("10:8", "two routes are for any host and the path `/a`")],
    ),
    (Route, "path = \"a\"", &[("7:8", "expected a path that begins with a /")]),
    (Route, "path = \"/a?b\"", &[("7:8", "invalid value `/a?b` for `path`")]),
    (Route, "hosts = \"example.org:80\"", &[("7:9", "expected a host without a port")]),
    (
        Route,
        "hosts = [\"example.org\", \"*.*.example.org\"]",
        &[("7:25", "invalid value `*.*.example.org` for `hosts`")],
    ),
    (Route, "listeners = [\"outside\"]", &[("7:14", "unknown listener `outside`")]),
    (
        Route,
        "[[routes]]\npath = \"/f\"\nfiles = \"no/such/folder\"\n",
        &[("9:9", "expected an existing directory")],
    ),
    (
        Route,
        "[[routes]]\npath = \"/r\"\nredirect = \"https://{hots}/\"\n",
        &[("9:12", "expected a URL such as")],
    ),
    (
        Route,
        "[[routes]]\npath = \"/r\"\nredirect = \"/x\"\nstatus = 304\n",
        &[("10:10", "expected 301, 302, 303, 307 or 308")],
    ),
    (
        Route,
        "listeners = [\"b\"]\n[[listeners]]\nlisten = \"[::1]:0\"\nname = \"b\"\n",
        &[("1:1", "warning: no route is for this listener")],
    ),
    (Top, "[clusters.a]\nbackends = [\"[::1]:1\"]\n", &[("1:11", "warning: no route uses the cluster `a`")]),
    // Fields and error pages
    (
        Route,
        "set_request_headers = { Content-Length = \"1\" }",
        &[("7:25", "the field `Content-Length` cannot be changed")],
    ),
    (Route, "set_response_headers = { \"X A\" = \"1\" }", &[("7:26", "invalid name `X A` of a field")]),
    (Route, "set_response_headers = { A = \"1\\n2\" }", &[("7:30", "invalid value for the field `A`")]),
    (
        Route,
        "remove_response_headers = [\"Server\", \"server\"]",
        &[("7:38", "the field `server` is named twice")],
    ),
    (Route, "[error_pages]\n600 = \"a.html\"", &[("8:1", "expected a status from 400 to 599")]),
    (Route, "[error_pages]\n503 = \"no/such/page.html\"", &[("8:7", "cannot read it: ")]),
    // TLS
    (Listener, "[listeners.tls]", &[("3:1", "missing key `certificates` in `listeners.tls`")]),
    (Listener, "tls = { certificates = [] }", &[("3:24", "`listeners.tls.certificates` is empty")]),
    (Listener, "tls = { certificates = \"a.pem\" }", &[("3:24", "expected tables, found a string")]),
    (
        Listener,
        "[listeners.tls]\ncertificates = [{ certificate = \"Cargo.toml\" }]",
        &[("4:17", "missing key `key` in `listeners.tls.certificates`")],
    ),
    (
        Listener,
        "[listeners.tls]\ncertificates = [{ certificate = \"no/such.pem\", key = \"src\" }]",
        &[("4:33", "cannot read it: "), ("4:54", "unusable key `src`")],
    ),
    (
        Listener,
        "[listeners.tls]\ncertificates = [{ certificate = \"Cargo.toml\", key = \"Cargo.toml\" }]",
        &[
            ("4:33", "expected a certificate in PEM form (BEGIN CERTIFICATE)"),
            ("4:53", "expected a private key in PEM form (BEGIN PRIVATE KEY)"),
        ],
    ),
    (
        Listener,
        "tls = { minimum_version = \"1.1\", client_certificates = \"require\" }",
        &[
            ("3:7", "missing key `certificates`"),
            ("3:27", "expected \"1.2\" or \"1.3\""),
            ("3:56", "did you mean \"required\"?"),
        ],
    ),
    (Listener, "tls = true", &[("3:7", "expected a table, found true or false")]),
    (
        Listener,
        "[listeners.tls]\ncertificate = \"a.pem\"",
        &[("3:1", "missing key"), ("4:1", "`certificate` belongs to `listeners.tls.certificates`")],
    ),
    // TLS with backends
    (Cluster, "tls = true", &[("5:7", "expected a table, found true or false")]),
    (Cluster, "[clusters.web.tls]\nca = \"no/such.pem\"", &[("6:6", "cannot read it: ")]),
    (
        Cluster,
        "[clusters.web.tls]\nca = \"Cargo.toml\"",
        &[("6:6", "expected a certificate in PEM form (BEGIN CERTIFICATE)")],
    ),
    (
        Cluster,
        "[clusters.web.tls]\ninsecure = true\nserver_name = \"a b\"",
        &[("7:15", "invalid name `a b` of a server")],
    ),
    (
        Cluster,
        "[clusters.web.tls]\ninsecure = true",
        &[("6:12", "warning: certificates of backends are not verified")],
    ),
    (
        Cluster,
        "[clusters.web.tls]\ninsecure = true\nca = \"Cargo.toml\"",
        &[("7:6", "expected no `ca` beside `insecure`")],
    ),
    (
        Cluster,
        "[clusters.web.tls]\ninsecure = true\ncertificate = \"Cargo.toml\"",
        &[("7:15", "`certificate` needs `key`")],
    ),
    (
        Cluster,
        "[clusters.web.tls]\ninsecure = true\nkey = \"Cargo.toml\"",
        &[("7:7", "`key` needs `certificate`")],
    ),
    (
        Cluster,
        "[clusters.web.tls]\ninsecure = true\ncertificate = \"Cargo.toml\"\nkey = \"Cargo.toml\"",
        &[("7:15", "expected a certificate in PEM form"), ("8:7", "expected a private key in PEM form")],
    ),
    (
        Top,
        "[clusters.a]\nbackends = [\"http://[::1]:1\"]\n[clusters.a.tls]\ninsecure = true\n",
        &[("2:13", "the table is for all backends")],
    ),
    (
        Top,
        "[clusters.a]\nbackends = [\"srv:_https._tcp\"]\n[clusters.a.tls]\ninsecure = true\n",
        &[("2:13", "expected the name of the server too")],
    ),
    (
        Top,
        "[clusters.a]\nbackends = [\"https://a.example/x\", { address = \"https://b.example/\" }]\n",
        &[
            ("2:13", "expected a URL without a path"),
            ("2:48", "invalid value `https://b.example/` for `address`"),
        ],
    ),
    // Everything at once
    (
        Whole,
        "workers = 0\n[[listeners]]\nlisten = 1\n[clusters.web]\nbackends = []\n[[routes]]\ncluster = \"bew\"\nx = 1\n",
        &[
            ("1:11", "from 1 to 1024"),
            ("3:10", "found a whole number"),
            ("5:12", "`clusters.web.backends` is empty"),
            ("7:11", "unknown cluster `bew`"),
            ("8:1", "unknown key `x` in `routes`"),
        ],
    ),
];
