//! The adapter to existing Matrix homeservers, and the registration it generates.
