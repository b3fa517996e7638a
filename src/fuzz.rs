//! Fuzz targets: properties that hold of all bytes.
//!
//! A target is a test in a module `fuzz` beside the code that it is about. Its seeds are in the folder of its name in
//! `tests/fuzz/seeds/`. `make test` holds the property against them; `make fuzz` has libFuzzer make more.

/// Holds `property` against the seeds of the target `name`.
#[cfg(not(fuzzing))]
pub(crate) fn check(name: &str, property: impl Fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/seeds")
        .join(name);
    let seeds = folder.read_dir().unwrap();
    let mut paths: Vec<_> = seeds.map(|seed| seed.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    for path in paths {
        // Shown where the test fails.
        println!("{}", path.display());
        property(&std::fs::read(&path).unwrap());
    }
}

/// Ends the process after libFuzzer has run over `property` with the arguments of `ERRAND_FUZZ_ARGUMENTS`, one a line.
#[cfg(fuzzing)]
pub(crate) fn check(name: &str, property: impl Fn(&[u8]) + Send + Sync + 'static) {
    let arguments = std::env::var("ERRAND_FUZZ_ARGUMENTS").unwrap_or_default();
    let arguments = std::iter::once(name).chain(arguments.lines()).map(str::to_owned);
    std::process::exit(fuzz_driver::run(arguments, property));
}
