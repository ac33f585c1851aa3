//! The targets that can be measured, and their commands.
//!
//! All balancers forward to the same backends: three addresses of one `neraca serve`. So the backends cause no
//! difference between balancers. The other balancers are configured as their manuals advise for such a load: kept
//! backend connections, one process or thread per CPU, no access log.

use crate::plans::model::{Target, TargetKind, What};

pub(crate) const THREAD: &str = "thread";
pub(crate) const ASYNC: &str = "async";
/// The thread engine under a second name.
pub(crate) const AGAIN: &str = "thread-again";
pub(crate) const SERVE_THREAD: &str = "serve-thread";
pub(crate) const SERVE_ASYNC: &str = "serve-async";
/// nginx as a file server, without a balancer.
pub(crate) const DIRECT: &str = "nginx-direct";

/// The servers behind every balancer.
pub(crate) const BACKENDS: &str = "{neraca} serve --engine async --listen 127.0.0.1:0 --listen 127.0.0.1:0 \
                                   --listen 127.0.0.1:0 --root {root} --stats {backend_stats}";

const BALANCE: &str = "{neraca} balance --engine ENGINE --listen 127.0.0.1:0 --backend 127.0.0.1:{o1} \
                       --backend 127.0.0.1:{o2} --backend 127.0.0.1:{o3} --stats {stats}";
const SERVE: &str = "{neraca} serve --engine ENGINE --listen 127.0.0.1:0 --root {root} --stats {stats}";

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(Into::into).collect()
}

fn target(id: &str, title: &str, kind: TargetKind, line: &str) -> Target {
    Target {
        id: id.into(),
        title: title.into(),
        what: What::Balancer,
        kind,
        baseline: None,
        command: words(line),
        config: None,
        backend_arguments: Vec::new(),
        fixed: None,
    }
}

fn ours(id: &str, title: &str, kind: TargetKind, program: &str, engine: &str) -> Target {
    let what = if program == SERVE { What::Server } else { What::Balancer };
    Target { what, ..target(id, title, kind, &program.replace("ENGINE", engine)) }
}

/// Makes a target of ours with a change.
fn changed(
    id: &str,
    title: &str,
    kind: TargetKind,
    (program, engine): (&str, &str),
    arguments: &str,
) -> Target {
    let mut target = ours(id, title, kind, program, engine);
    target.command.extend(words(arguments));
    target.baseline = Some(if program == SERVE { format!("serve-{engine}") } else { engine.into() });
    target
}

/// Returns our programs, without and with changes.
pub(crate) fn own() -> Vec<Target> {
    use TargetKind::{Ablation, Control, Engine, Variant};
    let (thread, asynchronous) = ((BALANCE, THREAD), (BALANCE, ASYNC));
    let mut targets = vec![
        ours(THREAD, "Neraca, thread engine", Engine, BALANCE, "thread"),
        ours(ASYNC, "Neraca, async engine", Engine, BALANCE, "async"),
        changed(AGAIN, "Neraca, thread engine again", Control, thread, ""),
        ours(SERVE_THREAD, "Neraca file server, thread engine", Engine, SERVE, "thread"),
        ours(SERVE_ASYNC, "Neraca file server, async engine", Engine, SERVE, "async"),
        changed("thread-textbook", "one exchange per worker", Variant, thread, "--pool textbook"),
        changed("thread-rayon", "rayon for the channel", Variant, thread, "--pool rayon"),
        changed("async-smol", "smol's stock reactor", Variant, asynchronous, "--reactor smol"),
    ];
    for engine in [THREAD, ASYNC] {
        let overheads = [
            ("access-log", "a line printed per request", BALANCE, "--experiment-access-log"),
            ("receive-32", "a 32-byte receive buffer", BALANCE, "--experiment-receive-bytes 32"),
            ("list-directory", "the directory listed per request", SERVE, "--experiment-list-directory"),
            ("read-file", "the file read per request", SERVE, "--experiment-read-file"),
        ];
        for (name, title, program, argument) in overheads {
            let id = format!("{engine}-{name}");
            targets.push(changed(&id, title, Ablation, (program, engine), argument));
        }
    }
    targets
}

/// Returns the targets of other programs, each with its executable.
pub(crate) fn others(cpus: usize) -> Vec<(&'static str, Target)> {
    use TargetKind::Peer;
    let cpus = cpus.to_string();
    let configured = |id: &str, title: &str, kind, line: &str, config: &str| {
        let mut target = target(id, title, kind, line);
        target.config = Some(config.replace("{cpus}", &cpus));
        target
    };
    let nginx = |server: &str| NGINX.replace("{server}", server);
    let nginx_line = "nginx -e stderr -c {conf}";
    vec![
        ("nginx", {
            let nginx = configured(DIRECT, "nginx, asked directly", Peer, nginx_line, &nginx(NGINX_FILES));
            Target { what: What::Server, ..nginx }
        }),
        ("haproxy", configured("haproxy", "HAProxy", Peer, "haproxy -db -f {conf}", HAPROXY)),
        ("nginx", configured("nginx", "nginx", Peer, nginx_line, &nginx(NGINX_PROXY))),
        ("caddy", configured("caddy", "Caddy", Peer, "caddy run --config {conf} --adapter caddyfile", CADDY)),
        (
            "apache2",
            configured("apache", "Apache httpd, event MPM", Peer, "apache2 -DFOREGROUND -f {conf}", APACHE),
        ),
    ]
}

const NGINX: &str = "daemon off;
pid {dir}/nginx.pid;
error_log stderr crit;
worker_processes {cpus};
worker_rlimit_nofile 16000;
events { worker_connections 8000; multi_accept on; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  keepalive_timeout 120;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
{server}}
";

const NGINX_FILES: &str = "  open_file_cache max=100 inactive=600s;
  open_file_cache_valid 600s;
  server { listen 127.0.0.1:{port} backlog=4096 reuseport; root {root}; }
";

const NGINX_PROXY: &str = "  upstream backends {
    server 127.0.0.1:{o1};
    server 127.0.0.1:{o2};
    server 127.0.0.1:{o3};
    keepalive 512;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:{port} backlog=4096 reuseport;
    location / {
      proxy_pass http://backends;
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
";

const HAPROXY: &str = "global
  maxconn 9500
  nbthread {cpus}
defaults
  mode http
  option http-keep-alive
  http-reuse always
  option forwardfor
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  default_backend servers
backend servers
  balance roundrobin
  server s1 127.0.0.1:{o1}
  server s2 127.0.0.1:{o2}
  server s3 127.0.0.1:{o3}
";

const CADDY: &str = "{
  admin off
  auto_https off
  log {
    level ERROR
  }
}
http://127.0.0.1:{port} {
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{o1} 127.0.0.1:{o2} 127.0.0.1:{o3} {
    lb_policy round_robin
    transport http {
      keepalive_idle_conns_per_host 1024
    }
  }
}
";

const APACHE: &str = "LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule proxy_balancer_module /usr/lib/apache2/modules/mod_proxy_balancer.so
LoadModule lbmethod_byrequests_module /usr/lib/apache2/modules/mod_lbmethod_byrequests.so
LoadModule slotmem_shm_module /usr/lib/apache2/modules/mod_slotmem_shm.so
ServerRoot {dir}
DefaultRuntimeDir {dir}
PidFile {dir}/apache.pid
Listen 127.0.0.1:{port}
ServerName lab
ErrorLog /dev/null
ServerLimit 16
ThreadsPerChild 64
MaxRequestWorkers 1024
MaxKeepAliveRequests 0
KeepAliveTimeout 60
ProxyPass / balancer://servers/
<Proxy balancer://servers>
BalancerMember http://127.0.0.1:{o1} keepalive=On
BalancerMember http://127.0.0.1:{o2} keepalive=On
BalancerMember http://127.0.0.1:{o3} keepalive=On
</Proxy>
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_baseline_is_a_target_and_every_name_is_one() {
        let targets: Vec<Target> = own().into_iter().chain(others(2).into_iter().map(|(_, t)| t)).collect();
        let ids: BTreeSet<&str> = targets.iter().map(|target| target.id.as_str()).collect();
        assert_eq!(ids.len(), targets.len());
        for target in &targets {
            assert!(target.baseline.as_deref().is_none_or(|id| ids.contains(id)), "{target:?}");
            let changed =
                matches!(target.kind, TargetKind::Variant | TargetKind::Ablation | TargetKind::Control);
            assert_eq!(target.baseline.is_some(), changed, "{target:?}");
        }
    }
}
