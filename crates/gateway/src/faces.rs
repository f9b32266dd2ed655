//! The HTTP faces. A face translates: it parses, authenticates, hands a command to the engine, and answers when the
//! engine has answered.

pub mod admin;
pub mod claims;
pub mod client;
pub mod matrix;
pub mod mimi;
mod outcome;
