//! Tests of the stores.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod corpus;
mod damage;
mod harness;
mod import;
mod kill;
mod model;

mod memory {
    store::store_suite!(crate::harness::Memory);
}

mod sim {
    store::store_suite!(crate::harness::Sim);
}

mod sled {
    store::store_suite!(crate::harness::Sled::new());
}
