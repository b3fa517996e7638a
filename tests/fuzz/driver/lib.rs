//! Runs libFuzzer over a property, from within a test. A package of its own, since the crate forbids unsafe code.

use std::{
    ffi::{c_char, c_int, CString},
    sync::OnceLock,
};

type Property = Box<dyn Fn(&[u8]) + Send + Sync>;

static PROPERTY: OnceLock<Property> = OnceLock::new();

// Has a panic end the process, so that libFuzzer keeps the input.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(property) = PROPERTY.get() {
        property(bytes);
    }
});

extern "C" {
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        test: unsafe extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

unsafe extern "C" fn test(bytes: *const u8, count: usize) -> c_int {
    libfuzzer_sys::test_input_wrap(bytes, count)
}

/// Tries inputs as the arguments say (<https://llvm.org/docs/LibFuzzer.html#options>), the first being a name of the
/// program, and returns the exit code. Once in a process.
pub fn run(
    arguments: impl IntoIterator<Item = String>,
    property: impl Fn(&[u8]) + Send + Sync + 'static,
) -> i32 {
    assert!(
        PROPERTY.set(Box::new(property)).is_ok(),
        "one property in a process"
    );
    let texts = arguments.into_iter().map(CString::new);
    let mut pointers: Vec<*mut c_char> = texts
        .map(|text| text.expect("no zero byte in an argument").into_raw())
        .collect();
    let mut count = c_int::try_from(pointers.len()).expect("few arguments");
    pointers.push(std::ptr::null_mut());
    let mut list = pointers.leak().as_mut_ptr();
    // SAFETY: count and list are those of a C main, and live as long as the process; the test is the one that
    // libFuzzer's own main would be given.
    unsafe { LLVMFuzzerRunDriver(&mut count, &mut list, test) }
}
