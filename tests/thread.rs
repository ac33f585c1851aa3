//! The socket suite over the thread engine.
mod harness;

macro_rules! each_variant {
    ($($test:ident)+) => {
        mod crossbeam { $(#[test] fn $test() { super::$test(crate::harness::CROSSBEAM); })+ }
        mod rayon { $(#[test] fn $test() { super::$test(crate::harness::RAYON); })+ }
        mod textbook { $(#[test] fn $test() { super::$test(crate::harness::TEXTBOOK); })+ }
        mod crossbeam_with_tls {
            $(#[test] fn $test() { super::$test(crate::harness::CROSSBEAM.with_tls()); })+
        }
    };
}

mod suite;
