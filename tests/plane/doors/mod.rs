//! The doors of the facade, as their clients meet them: bytes on the wire against a whole plane.

mod cloudru;
mod diego;
mod greencloud;
mod qinling;
mod ucloud;
