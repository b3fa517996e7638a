//! The resource types: Task, Function and their parts.
