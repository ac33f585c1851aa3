//! The keys of the configuration file. A key that is an argument of the command line too takes everything from there.
use super::arguments::Arguments;
use super::shape::{Key, Kind, Shape};

/// The groups of arguments that a listener has as keys.
pub(super) const OF_LISTENERS: &str = "LimitArguments";
/// The limit of backend connections that belongs to the process.
const IDLE_BACKEND_CONNECTIONS: &str = "idle_backend_connections";
/// What the table for TLS with backends is for.
const ABOUT_BACKEND_TLS: &str = "TLS for all backends of the cluster, also for those without https://.";
/// The deadlines that a route may have of its own.
const OF_ROUTES: [&str; 3] = ["response_timeout_ms", "body_timeout_ms", "tunnel_timeout_ms"];

/// Returns the shape of a whole file.
pub(super) fn file(arguments: &Arguments) -> Shape {
    let mut keys = arguments.keys("EngineArguments");
    keys.extend(
        ["max_in_flight_per_core", "handshakes", "stats", "resolver"].map(|id| arguments.key(id, id)),
    );
    keys.extend([
        Key::new("limits", Kind::Table(limits(arguments)), "Limits of the process, and defaults for the limits of listeners."),
        Key::new("admin", Kind::Table(admin(arguments)), "The listener for operators."),
        Key::new("access_log", Kind::Table(access_log(arguments)), "One line for each finished request."),
        Key::new("listeners", Kind::list(Kind::Table(listener(arguments))), "The addresses that clients connect to.").required(),
        Key::new(
            "clusters",
            Kind::Map("clusters by name", Box::new(Kind::Table(cluster(arguments)))),
            "Groups of backends. A route sends its requests to one cluster.",
        ),
        Key::new("routes", Kind::list(Kind::Table(route(arguments))), "What happens to which requests.").required(),
        Key::new(
            "error_pages",
            Kind::Map("files by status", Box::new(Kind::Path)),
            "Files that replace the bodies of Neraca's own error responses. A name is a status (\"503\") or a class (\"5xx\").",
        ),
    ]);
    Shape { about: "Configuration of neraca balance", keys }
}

fn limits(arguments: &Arguments) -> Shape {
    let mut keys = arguments.keys("ProcessLimitArguments");
    keys.push(arguments.key(IDLE_BACKEND_CONNECTIONS, IDLE_BACKEND_CONNECTIONS));
    keys.extend(arguments.keys(OF_LISTENERS));
    Shape { about: "Limits of the process, and defaults for the limits of listeners.", keys }
}

fn admin(arguments: &Arguments) -> Shape {
    let named = |id: &str, name: &str| arguments.key(id, name);
    let keys = vec![
        named("admin", "listen").required(),
        named("admin_token_file", "token_file"),
        named("drain_delay_seconds", "drain_delay_seconds"),
    ];
    Shape { about: "The listener for operators.", keys }
}

fn access_log(arguments: &Arguments) -> Shape {
    let named = |id: &str, name: &str| arguments.key(id, name);
    let keys = vec![
        named("access_log", "file").required(),
        named("access_log_format", "format"),
        named("access_log_sample", "sample"),
    ];
    Shape { about: "One line for each finished request.", keys }
}

fn listener(arguments: &Arguments) -> Shape {
    let mut keys = vec![
        Key::new(
            "listen",
            Kind::one_or_more(Kind::text("HOST:PORT")),
            "Address to accept clients on, or a list of addresses. Port 0 means a free port.",
        )
        .required(),
        Key::new("name", Kind::text("NAME"), "Name of the listener, for `listeners` of routes."),
    ];
    keys.extend(["trust", "proxy_protocol", "forwarded"].map(|id| arguments.key(id, id)));
    keys.extend(arguments.keys(OF_LISTENERS));
    keys.push(Key::new("tls", Kind::Table(tls(arguments)), "TLS for the clients of the listener."));
    Shape { about: "Addresses with the same settings.", keys }
}

fn tls(arguments: &Arguments) -> Shape {
    let pair = Shape {
        about: "A certificate with its key.",
        keys: vec![
            Key::new(
                "certificate",
                Kind::Path,
                "File with the certificate, and behind it the certificates of its authorities (PEM).",
            )
            .required(),
            Key::new("key", Kind::Path, "File with the private key of the certificate (PEM).").required(),
        ],
    };
    let about = "Certificates with their keys. The name of the host that a client asks for selects the certificate. \
                 A client without a known name gets the first.";
    let mut keys = vec![Key::new("certificates", Kind::list(Kind::Table(pair)), about).required()];
    let of_line = ["client_ca", "client_certificates", "minimum_version", "no_resumption"];
    keys.extend(of_line.map(|name| arguments.key(&format!("tls_{name}"), name)));
    Shape { about: "TLS for the clients of the listener.", keys }
}

fn cluster(arguments: &Arguments) -> Shape {
    let backend = Kind::AnyOf(vec![Kind::text("HOST:PORT[,OPTION=VALUE]..."), Kind::Table(backend())]);
    let sticky = Shape {
        about: "Sticky sessions.",
        keys: vec![arguments.key("sticky", "name").required(), arguments.key("sticky_key", "key").required()],
    };
    let mut keys = vec![
        Key::new(
            "backends",
            Kind::list(backend),
            "Servers that get the requests. https:// in front of one means TLS.",
        )
        .required(),
        arguments.key("policy", "policy"),
        Key::new("sticky", Kind::Table(sticky), "Keep each client at its backend, by a cookie."),
    ];
    let limits = arguments.keys("BackendLimitArguments");
    keys.extend(limits.into_iter().filter(|key| key.name != IDLE_BACKEND_CONNECTIONS));
    keys.extend(arguments.keys("HealthArguments"));
    keys.extend(arguments.keys("CheckArguments"));
    keys.push(Key::new("tls", Kind::Table(backend_tls(arguments)), ABOUT_BACKEND_TLS));
    Shape { about: "A group of backends.", keys }
}

fn backend_tls(arguments: &Arguments) -> Shape {
    let named = |id: &str, name: &str| arguments.key(id, name);
    let keys = vec![
        named("backend_ca", "ca"),
        named("backend_server_name", "server_name"),
        named("backend_tls_insecure", "insecure"),
        Key::new(
            "certificate",
            Kind::Path,
            "File with a certificate for backends that ask for one, and behind it the certificates of its authorities (PEM).",
        ),
        Key::new("key", Kind::Path, "File with the private key of the certificate (PEM)."),
    ];
    Shape { about: ABOUT_BACKEND_TLS, keys }
}

fn backend() -> Shape {
    use crate::cluster::BackendSettings;
    let weights = Kind::Number(1..=BackendSettings::WEIGHT_MAX.into());
    let caps =
        Kind::AnyOf(vec![Kind::Number(1..=super::super::value::CAP_MAX.into()), Kind::choice(&["auto"])]);
    let keys = vec![
        Key::new(
            "address",
            Kind::text("HOST:PORT"),
            "Address or host name of the backend, or \"srv:NAME\" for the SRV records of a service. https:// in front means TLS.",
        )
        .required(),
        Key::new("weight", weights, "Share of the requests, relative to the other backends.").or_else("1"),
        Key::new(
            "cap",
            caps,
            "Maximum requests in flight; further requests wait. \"auto\" follows the latency of the backend.",
        ),
        Key::new(
            "proxy_protocol",
            Kind::choice(&["v1", "v2"]),
            "Begin each connection to the backend with a header that names the client. It serves one request.",
        ),
    ];
    Shape { about: "A backend with options.", keys }
}

fn route(arguments: &Arguments) -> Shape {
    let names = || Kind::list(Kind::text("NAME"));
    let fields = || Kind::Map("values by field name", Box::new(Kind::text("")));
    let statuses = ["301", "302", "303", "307", "308"];
    let mut keys = vec![
        Key::new(
            "hosts",
            Kind::one_or_more(Kind::text("HOST")),
            "Hosts of the requests, such as \"example.org\" or \"*.example.org\". Without it: any host.",
        ),
        Key::new("path", Kind::text("/PATH"), "Start of the path: whole segments.").or_else("\"/\""),
        Key::new("listeners", names(), "Names of the listeners. Without it: all listeners."),
        Key::new("cluster", Kind::text("NAME"), "Cluster that gets the requests."),
        Key::new("files", Kind::Path, "Directory whose files are served."),
        Key::new(
            "redirect",
            Kind::text("URL"),
            "Where the client shall go instead; {host} and {target} stand for those of the request.",
        ),
        Key::new(
            "status",
            Kind::Number(301..=308),
            &format!("Status of the redirect: {}.", statuses.join(", ")),
        )
        .or_else("308"),
        Key::new("set_request_headers", fields(), "Fields to set in the request, in place of the client's."),
        Key::new("remove_request_headers", names(), "Fields to remove from the request."),
        Key::new(
            "set_response_headers",
            fields(),
            "Fields to set in the response, in place of the backend's.",
        ),
        Key::new("remove_response_headers", names(), "Fields to remove from the response."),
    ];
    // A route without a deadline of its own has that of its listener or cluster.
    let of_route = OF_ROUTES.map(|id| Key { default: None, ..arguments.key(id, id) });
    keys.extend(of_route);
    Shape {
        about: "What happens to some requests. The most specific host wins, then the longest path.",
        keys,
    }
}
