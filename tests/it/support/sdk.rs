//! Real SDKs for Python and Node.js, installed once under `target/clients` at the versions of
//! `tests/clients/`. They need interpreters and package registries, so `cargo test` ignores the
//! tests that use them, and `.ci/run` includes them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Runs a command that must succeed; `remedy` says what to do if it does not.
pub(crate) fn run(command: &mut Command, remedy: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; {remedy}\n{errors}");
}

/// Runs `install` in `target/clients/NAME` unless that has been done for this content of `lists`.
pub(crate) fn installed(name: &str, lists: &[PathBuf], install: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (home, done) = (folder.join(name), folder.join(format!("{name}.installed")));
    let wanted: String = lists.iter().map(|list| fs::read_to_string(list).unwrap()).collect();
    if fs::read_to_string(&done).ok().as_deref() != Some(&wanted) {
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        install(&home);
        fs::write(&done, wanted).unwrap();
    }
    home
}

/// The programs that use the SDKs.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The Flask application of the compose file.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/app")
}

/// The same application with the SDKs of four vendors.
pub(crate) fn four_sdks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/four-sdks")
}

/// The programs of a virtual environment with the SDKs for Python.
pub(crate) fn python() -> PathBuf {
    let lists = [sources(), example()].map(|folder| folder.join("requirements.txt"));
    python_with("python", &lists)
}

/// The programs of a virtual environment with lists of packages.
pub(crate) fn python_with(name: &str, lists: &[PathBuf]) -> PathBuf {
    let home = installed(name, lists, |home| {
        let remedy = "install Python 3.9 or later with venv (Debian: python3-venv)";
        run(Command::new("python3").args(["-m", "venv"]).arg(home), remedy);
        let mut pip = Command::new(home.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        for list in lists {
            pip.arg("-r").arg(list);
        }
        run(&mut pip, "pip needs a package index");
    });
    home.join("bin")
}

/// A folder with the SDKs for Node.js.
pub(crate) fn node() -> PathBuf {
    packages("node", &sources())
}

/// A folder with the SDKs for browsers and the driver of a browser, which has to be there.
pub(crate) fn browser() -> PathBuf {
    let remedy = "install Chromium (Debian: chromium), or set CHROMIUM to the program";
    let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    run(Command::new(program).arg("--version"), remedy);
    packages("browser", &sources().join("browser"))
}

/// A folder with the packages of a list.
fn packages(name: &str, list: &Path) -> PathBuf {
    installed(name, &[list.join("package-lock.json")], |home| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(list.join(file), home.join(file)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(home);
        run(&mut npm, "install Node.js 18 or later with npm, which needs a package registry");
    })
}
