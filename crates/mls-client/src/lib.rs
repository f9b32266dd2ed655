//! A MIMI client on openmls: command line, tests, conformance runs, bridged rooms.

pub mod api;
pub mod storage;
