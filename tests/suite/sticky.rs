//! Tests of sticky sessions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use neraca::cluster::{BackendSettings, Cap, Cluster, ClusterSettings, Policy, StickySettings};
use neraca::router::Router;

use crate::harness::scripted::{Backend, Reply, automatic};
use crate::harness::wire::Message;
use crate::harness::{Server, Variant};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const KEY: &str = "00112233445566778899aabbccddeeff";

fn ok(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, OK.as_bytes()))
}

/// A balancer with sticky sessions over these backends.
fn sticky(
    variant: Variant,
    backends: &[impl Clone + Into<BackendSettings>],
    key: Option<&str>,
) -> Server<Router> {
    let settings = ClusterSettings {
        policy: Policy::RoundRobin,
        sticky: key.map(|key| StickySettings { name: "sid".parse().unwrap(), key: key.parse().unwrap() }),
        ..ClusterSettings::default()
    };
    let with_transform = |backend: BackendSettings| {
        let transform = variant.backend(backend.address).transform;
        BackendSettings { transform, ..backend }
    };
    let backends: Vec<_> = backends.iter().cloned().map(Into::into).map(with_transform).collect();
    let cluster = Cluster::with_settings(&backends, settings, 1, Instant::now());
    Server::start(Router::new(cluster), variant.options())
}

fn get(cookie: Option<&str>) -> Vec<u8> {
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n").into_bytes()
}

/// Returns the cookie that the response sets, as a client sends it back. On an encrypted connection the cookie is for such
/// connections only.
fn new_cookie(server: &Server<Router>, response: &Message) -> Option<String> {
    let set = response.field("Set-Cookie")?;
    let (cookie, attributes) = set.split_once("; ").unwrap_or_else(|| panic!("{set}"));
    let secure = if server.has_transform(server.listeners()[0].0) { "; Secure" } else { "" };
    assert_eq!(attributes, format!("Path=/; HttpOnly; SameSite=Lax{secure}"));
    let value = cookie.strip_prefix("sid=").unwrap_or_else(|| panic!("{set}"));
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{set}");
    Some(cookie.to_owned())
}

/// Sends these requests on one connection. Returns the backend of each response, and the cookie that it sets.
fn ask(server: &Server<Router>, requests: &[Vec<u8>]) -> Vec<(SocketAddr, Option<String>)> {
    let started = || {
        let members = server.app.cluster().members();
        let counts = members.backends().iter().map(|one| (one.address(), one.counts().started));
        counts.collect::<Vec<_>>()
    };
    let mut client = server.client();
    let ask = |request: &Vec<u8>| {
        let before = started();
        client.send(request);
        let response = client.message();
        assert_eq!(response.status(), 200);
        let after = started();
        let (asked, _) = after.into_iter().zip(before).find(|(after, before)| after != before).unwrap();
        (asked.0, new_cookie(server, &response))
    };
    requests.iter().map(ask).collect()
}

/// Sends a request without a cookie. Returns its backend and the new cookie.
fn begin(server: &Server<Router>) -> (SocketAddr, String) {
    let (backend, cookie) = ask(server, &[get(None)]).remove(0);
    (backend, cookie.expect("no cookie"))
}

fn a_client_stays_at_its_backend(variant: Variant) {
    let backends = [(); 3].map(|()| automatic(variant, ok));
    let server = sticky(variant, &backends, Some(KEY));
    let sessions = [(); 3].map(|()| begin(&server));
    let mut places = sessions.each_ref().map(|(backend, _)| *backend);
    places.sort_unstable();
    let mut all = backends;
    all.sort_unstable();
    assert_eq!(places, all, "the policy picks the first backend");
    for (backend, cookie) in &sessions {
        for request in [get(Some(cookie)), get(Some(&format!("a=b; {cookie}; c=d")))] {
            for answer in ask(&server, &vec![request; 10]) {
                assert_eq!(answer, (*backend, None));
            }
        }
        begin(&server);
    }
}

fn without_sessions_there_is_no_cookie(variant: Variant) {
    let backends = [(); 2].map(|()| automatic(variant, ok));
    let server = sticky(variant, &backends, None);
    let answers = ask(&server, &vec![get(Some("sid=0011223344556677")); 4]);
    assert!(answers.iter().all(|(_, cookie)| cookie.is_none()), "{answers:?}");
    assert_ne!(answers[0].0, answers[1].0);
    let server = sticky(variant, &[] as &[SocketAddr], Some(KEY));
    let mut client = server.client();
    client.send(get(None));
    let answer = client.message();
    assert_eq!((answer.status(), new_cookie(&server, &answer)), (503, None));
}

fn a_session_moves_once_when_its_backend_is_removed(variant: Variant) {
    let backends = [(); 3].map(|()| automatic(variant, ok));
    let server = sticky(variant, &backends, Some(KEY));
    let (gone, cookie) = begin(&server);
    let settings = backends.map(|backend| variant.backend(backend));
    let stay: Vec<_> = settings.iter().filter(|backend| backend.address != gone).cloned().collect();
    server.app.cluster().replace(&stay);
    let (moved, new) = ask(&server, &[get(Some(&cookie))]).remove(0);
    let new = new.expect("a new cookie");
    assert!(moved != gone && new != cookie);
    let stays = |cookie: &str, backend| {
        let answers = ask(&server, &vec![get(Some(cookie)); 10]);
        assert!(answers.iter().all(|answer| *answer == (backend, None)), "{answers:?}");
    };
    stays(&new, moved);
    server.app.cluster().replace(&settings);
    stays(&new, moved);
    stays(&cookie, gone);
    // A backend that is draining still serves its sessions.
    let members = server.app.cluster().members();
    let draining = members.backends().iter().find(|backend| backend.address() == moved).unwrap();
    draining.drain(true);
    stays(&new, moved);
    assert!((0..6).all(|_| begin(&server).0 != moved));
}

fn a_session_survives_a_restart_with_the_same_key(variant: Variant) {
    let backends = [(); 3].map(|()| automatic(variant, ok));
    let (backend, cookie) = begin(&sticky(variant, &backends, Some(KEY)));
    let mut others = backends;
    others.reverse();
    let restarted = sticky(variant, &others, Some(KEY));
    assert_eq!(ask(&restarted, &[get(Some(&cookie))]), [(backend, None)]);
    let other_key = sticky(variant, &backends, Some("00112233445566778899aabbccddeefe"));
    let (_, new) = ask(&other_key, &[get(Some(&cookie))]).remove(0);
    assert!(new.is_some_and(|new| new != cookie));
}

fn a_cookie_that_names_no_backend_is_no_cookie(variant: Variant) {
    let server = sticky(variant, &[automatic(variant, ok)], Some(KEY));
    let (_, cookie) = begin(&server);
    let value = cookie.strip_prefix("sid=").unwrap();
    let bad = [
        "sid=".to_owned(),
        "sid".to_owned(),
        "sid=0000000000000000".to_owned(),
        "sid=zzzzzzzzzzzzzzzz".to_owned(),
        format!("sid={}", value.to_uppercase() + "0"),
        format!("sid=\"{value}\""),
        format!("SID={value}"),
        format!("sid=x; {cookie}"),
        format!("sid={}", "a".repeat(4000)),
        ";=;=;;sid==;".to_owned(),
    ];
    for cookies in bad {
        let answer = ask(&server, &[get(Some(&cookies))]).remove(0);
        assert_eq!(answer.1.as_ref(), Some(&cookie), "{cookies:?}");
    }
    let mut bytes = get(Some("sid=????????????????"));
    bytes.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
    assert_eq!(ask(&server, &[bytes]).remove(0).1, Some(cookie.clone()));
    // Of two cookies with the name, the first one counts.
    assert_eq!(ask(&server, &[get(Some(&format!("{cookie}; sid=x")))]).remove(0).1, None);
}

fn a_full_backend_keeps_its_session_and_a_broken_one_does_not(variant: Variant) {
    let backends = [(); 2].map(|()| Backend::start(variant));
    let capped =
        backends.each_ref().map(|one| BackendSettings { cap: Some(Cap::Fixed(1)), ..one.address().into() });
    let server = sticky(variant, &capped, Some(KEY));
    let mut client = server.client();
    client.send(get(None));
    let members = server.app.cluster().members();
    let mut own = 0;
    crate::harness::eventually("a backend is asked", || {
        own = usize::from(members.backends()[1].counts().started > 0);
        members.backends()[own].counts().started > 0
    });
    let mut peer = backends[own].accept();
    peer.head();
    peer.send(OK);
    let cookie = new_cookie(&server, &client.message()).unwrap();
    client.send(get(Some(&cookie)));
    peer.head();
    let mut second = server.client();
    second.send(get(Some(&cookie)));
    let mut other = backends[1 - own].accept();
    other.head();
    other.send(OK);
    assert_eq!(new_cookie(&server, &second.message()), None, "its backend was full");
    // The backend breaks the connection: the request is repeated at the other backend.
    drop(peer);
    let mut fresh = backends[1 - own].accept();
    fresh.head();
    fresh.send(OK);
    let new = new_cookie(&server, &client.message()).expect("a new cookie");
    assert_ne!(new, cookie);
}

each_variant! {
    a_client_stays_at_its_backend
    without_sessions_there_is_no_cookie
    a_session_moves_once_when_its_backend_is_removed
    a_session_survives_a_restart_with_the_same_key
    a_cookie_that_names_no_backend_is_no_cookie
    a_full_backend_keeps_its_session_and_a_broken_one_does_not
}
