//! Random operations against a plain map.

use proptest::{collection::vec, option, prelude::*, test_runner::Config};
use store::suite::model::{Step, run};

use crate::harness::{Memory, Sled};

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![8 => 0_u32..100, 1 => 4000_u32..4200, 1 => 60_000_u32..=65_536];
    let writes = vec((0_u8..60, option::weighted(0.8, length)), 0..6);
    prop_oneof![
        10 => (writes, option::weighted(0.3, 0_u8..60))
            .prop_map(|(writes, absent)| Step::Commit { writes, absent }),
        5 => (option::of(0_u8..10), option::of(0_u8..60), 0_u8..40, any::<bool>())
            .prop_map(|(prefix, after, limit, reverse)| Step::Scan { prefix, after, limit, reverse }),
        1 => Just(Step::Reopen),
    ]
}

pub(crate) fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap()
        .block_on(future);
}

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

    #[test]
    fn memory_is_like_a_map(steps in vec(step(), 1..60)) {
        block_on(run(&Memory, &steps));
    }
}

proptest! {
    // Each commit is a sync of a real disk.
    #![proptest_config(Config { cases: 12, failure_persistence: None, ..Config::default() })]

    #[test]
    fn sled_is_like_a_map(steps in vec(step(), 1..60)) {
        block_on(run(&Sled::new(), &steps));
    }
}
