// SPDX-License-Identifier: Apache-2.0
//
//! Finds libflashcore.so: the folder in FLASHCORE_LIB_DIR, else what pkg-config knows, else an error that says what to do.
//! Nothing is downloaded or compiled. Crates above learn the folder as DEP_FLASHCORE_LIBDIR.

use std::env;
use std::path::PathBuf;
use std::process::{exit, Command};

const VARIABLE: &str = "FLASHCORE_LIB_DIR";
const OLDEST: &str = "1.0.0";

fn give_up(why: String) -> ! {
    eprintln!("error: {}", why);
    exit(1)
}

/// The folder that the variable names; an unset or empty one is None.
fn folder_of_variable() -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed={}", VARIABLE);
    let folder = PathBuf::from(env::var_os(VARIABLE).filter(|value| !value.is_empty())?);
    let library = folder.join("libflashcore.so");
    if !folder.is_absolute() || !library.exists() {
        give_up(format!("{} is {:?}; allowed: the absolute path of the folder that holds libflashcore.so", VARIABLE, folder));
    }
    println!("cargo:rerun-if-changed={}", library.display());
    Some(folder)
}

/// Words as pkg-config prints them: with a backslash before what a shell would take apart.
fn words_of(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => words.last_mut().unwrap().extend(letters.next()),
            space if space.is_whitespace() => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What `pkg-config --variable=libdir` and the linker flags say; an error in words where it knows no flashcore.
fn folder_of_pkg_config() -> Result<PathBuf, String> {
    for name in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo:rerun-if-env-changed={}", name);
    }
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(&program)
        .args(["--print-errors", "--libs-only-L", "--keep-system-libs", &format!("flashcore >= {}", OLDEST)])
        .output()
        .map_err(|error| format!("{:?} could not be run ({})", program, error))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    let flags = String::from_utf8_lossy(&output.stdout).into_owned();
    words_of(&flags)
        .iter()
        .filter_map(|flag| flag.strip_prefix("-L"))
        .map(PathBuf::from)
        .find(|folder| folder.join("libflashcore.so").exists())
        .ok_or_else(|| format!("pkg-config names no folder that holds libflashcore.so: {:?}", flags.trim()))
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DOCS_RS");
    if env::var_os("DOCS_RS").is_some() {
        return; // documentation links nothing
    }
    let folder = folder_of_variable().unwrap_or_else(|| {
        folder_of_pkg_config().unwrap_or_else(|why| {
            give_up(format!(
                "libflashcore {} or newer was not found: {}\nInstall it, or set {} to the folder that holds libflashcore.so",
                OLDEST, why, VARIABLE
            ))
        })
    });
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rustc-link-lib=dylib=flashcore");
    println!("cargo:libdir={}", folder.display());
}
