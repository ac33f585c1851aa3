//! The socket suite over the async engine.
mod harness;

macro_rules! each_variant {
    ($($test:ident)+) => {
        mod edge { $(#[test] fn $test() { super::$test(crate::harness::EDGE); })+ }
        mod smol { $(#[test] fn $test() { super::$test(crate::harness::SMOL); })+ }
        mod edge_with_tls {
            $(#[test] fn $test() { super::$test(crate::harness::EDGE.with_tls()); })+
        }
        mod edge_with_tls_and_pool {
            $(#[test] fn $test() { super::$test(crate::harness::EDGE.with_tls().with_pool()); })+
        }
    };
}

mod suite;
