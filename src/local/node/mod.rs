//! The node of the embedded plane: runs pods on this machine.
