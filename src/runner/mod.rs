//! The supervisor that runs inside a container (`errand runner`).
