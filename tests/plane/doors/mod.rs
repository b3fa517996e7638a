//! The doors of the facade, as their clients meet them: bytes on the wire against a whole plane.

mod greencloud;
mod ucloud;
