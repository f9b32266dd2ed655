//! MIMI bytes: protocol structs, URIs, directory, content, room policy, franking. Pure.
