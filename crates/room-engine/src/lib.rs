//! Workers, lanes, sequencing, carrier events and the outbox. Knows no HTTP.

pub mod carrier;
