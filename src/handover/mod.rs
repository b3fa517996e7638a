//! What the engine and the supervisor say to each other: arguments in, evidence out.
