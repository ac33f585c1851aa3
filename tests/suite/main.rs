//! The socket tests: the behaviour of each variant of both engines, and once more with TLS between each socket and its
//! exchange, on both sides. Each file ends with `each_variant!` and the list of its tests.
#[path = "../harness/mod.rs"]
mod harness;

macro_rules! each_variant {
    (@ $variant:expr, $($test:ident)+) => { $(#[test] fn $test() { super::super::$test($variant); })+ };
    ($($test:ident)+) => {
        mod thread_engine {
            use crate::harness::{CROSSBEAM, RAYON, TEXTBOOK};
            mod crossbeam { each_variant! { @ super::CROSSBEAM, $($test)+ } }
            mod rayon { each_variant! { @ super::RAYON, $($test)+ } }
            mod textbook { each_variant! { @ super::TEXTBOOK, $($test)+ } }
            mod crossbeam_with_tls { each_variant! { @ super::CROSSBEAM.with_tls(), $($test)+ } }
        }
        mod async_engine {
            use crate::harness::{EDGE, SMOL};
            mod edge { each_variant! { @ super::EDGE, $($test)+ } }
            mod smol { each_variant! { @ super::SMOL, $($test)+ } }
            mod edge_with_tls { each_variant! { @ super::EDGE.with_tls(), $($test)+ } }
            mod edge_with_tls_and_pool { each_variant! { @ super::EDGE.with_tls().with_pool(), $($test)+ } }
        }
    };
}

mod bodies;
mod continues;
mod deadlines;
mod files;
mod forwarding;
mod handle;
mod health;
mod keepalive;
mod limits;
mod pressure;
mod proxy_protocol;
mod queue;
mod retry;
mod routes;
mod sticky;
mod stopping;
mod traffic;
mod transforms;
mod upgrade;
