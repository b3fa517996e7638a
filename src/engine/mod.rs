//! The controller: turns Tasks into pods and pods into results.
