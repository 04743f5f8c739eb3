//! Files that are complete or not there.
//!
//! Bytes go to a temporary name in the same folder, are flushed to the disk, are read back and
//! compared, and only then take the final name by a rename, which file systems make atomic. So a
//! crash, a full disk or a failing writer leaves the old file as it was, a reader that has the old
//! file mapped keeps its bytes, and no half file is ever found under the final name.
//!
//! The comparison comes before the rename, so that a file that fails it never replaces a good one.
//! It catches a writer that is not deterministic, short writes and file systems that lie. Pages
//! still cached by the operating system can hide a bad disk; only a checksum read later can show
//! that.
//!
//! What a killed writer leaves is removed by the next one of the same file. A folder, device, pipe or
//! socket is not replaced.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use super::IoError;

const BUFFER_BYTES: usize = 1 << 20;
/// Around the names of temporary files.
pub(super) const TEMPORARY_PREFIX: &str = ".lapidary-";
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes `bytes` to `path`, replacing the file there, if any, in one step. The folder must exist.
///
/// # Errors
/// [`IoError::Write`] if the operating system refuses, [`IoError::ReadBack`] if other bytes are
/// read back.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    write_with(path, |writer| writer.write_all(bytes))
}

/// Writes what `fill` produces to `path`, replacing the file there, if any, in one step. The folder
/// must exist. A symbolic link at `path` is replaced, not followed.
///
/// `fill` is called twice and must produce the same bytes: once to write, once to compare with what
/// is read back. That keeps a large model out of memory and still compares every byte.
///
/// # Errors
/// [`IoError::Write`] if the operating system or `fill` refuses or something else than a file is there,
/// [`IoError::ReadBack`] if other bytes are read back.
pub fn write_with(
    path: &Path,
    fill: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<(), IoError> {
    let wrong = |reason| IoError::write(path, reason);
    let folder = folder_of(path);
    require_replaceable(path).map_err(wrong)?;
    remove_abandoned(folder, path);
    let temporary = temporary_in(folder, path).map_err(wrong)?;
    write_all_and_sync(temporary.as_file(), &fill).map_err(wrong)?;
    compare(temporary.as_file(), path, &fill)?;
    temporary
        .persist(path)
        .map_err(|failed| wrong(failed.error))?;
    sync_folder(folder).map_err(wrong)
}

/// Whether [`write_with`] could write `path`, as far as that can be known beforehand: nothing but a file is there, and
/// its folder takes a temporary file. Whoever computes long before writing asks first.
///
/// # Errors
/// [`IoError::Write`] if not.
pub fn check_writable(path: &Path) -> Result<(), IoError> {
    let wrong = |reason| IoError::write(path, reason);
    require_replaceable(path).map_err(wrong)?;
    temporary_in(folder_of(path), path).map_err(wrong).map(drop)
}

/// Makes a folder and those above it, where they are missing.
///
/// # Errors
/// [`IoError::Write`] if the operating system refuses.
pub fn create_folder(path: &Path) -> Result<(), IoError> {
    std::fs::create_dir_all(path).map_err(|reason| IoError::write(path, reason))
}

/// Gives a folder another name beside it, in one step. Nothing may be there under that name.
///
/// # Errors
/// [`IoError::Write`] if something is there, or the operating system refuses.
pub fn rename_folder(from: &Path, to: &Path) -> Result<(), IoError> {
    let wrong = |reason| IoError::write(to, reason);
    if std::fs::symlink_metadata(to).is_ok() {
        return Err(wrong(io::Error::other("there is something of that name")));
    }
    sync_folder(from).map_err(wrong)?;
    std::fs::rename(from, to).map_err(wrong)?;
    sync_folder(folder_of(to)).map_err(wrong)
}

/// Removes a folder with all files in it.
///
/// # Errors
/// [`IoError::Write`] if the operating system refuses.
pub fn remove_folder(path: &Path) -> Result<(), IoError> {
    std::fs::remove_dir_all(path).map_err(|reason| IoError::write(path, reason))
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`IoError::Write`] if the operating system refuses.
pub fn remove_if_there(path: &Path) -> Result<(), IoError> {
    match std::fs::remove_file(path) {
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
            Err(IoError::write(path, reason))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a name is that of a temporary file or folder of a writer.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// Removes temporary files and folders that a killed process left in a folder which no other process writes to.
///
/// # Errors
/// [`IoError::Read`] and [`IoError::Write`] if the operating system refuses.
pub fn remove_leftovers(folder: &Path) -> Result<(), IoError> {
    let entries = std::fs::read_dir(folder).map_err(|reason| IoError::read(folder, reason))?;
    for entry in entries {
        let entry = entry.map_err(|reason| IoError::read(folder, reason))?;
        if is_temporary(&entry.file_name()) {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                std::fs::remove_dir_all(&path).map_err(|reason| IoError::write(&path, reason))?;
            } else {
                remove_if_there(&path)?;
            }
        }
    }
    Ok(())
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// A rename puts a file in the place of whatever is there: of a device or a pipe, which others use, too.
fn require_replaceable(path: &Path) -> io::Result<()> {
    if path.file_name().is_none() {
        return Err(io::Error::other("a file needs a name"));
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::Error::other("there is a folder of that name")),
        Ok(found) if !found.is_file() => Err(io::Error::other(
            "there is a device, pipe or socket of that name; only files are replaced",
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What the names of temporary files for `path` begin with.
fn prefix_of(path: &Path) -> OsString {
    let mut prefix = OsString::from(TEMPORARY_PREFIX);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Names of files have at most 255 bytes.
    prefix.push(name.chars().take(40).collect::<String>());
    prefix.push("-");
    prefix
}

/// A temporary file for `path`, locked as long as its writer lives.
fn temporary_in(folder: &Path, path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let prefix = prefix_of(path);
    loop {
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(TEMPORARY_SUFFIX);
        // Temporary files are private by default; a model file is as public as the user's umask lets it
        // be.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let made = builder.tempfile_in(folder)?;
        match made.as_file().try_lock() {
            // Another writer of this file may have removed it before the lock.
            Ok(()) if !made.path().exists() => {}
            Err(TryLockError::WouldBlock) => {}
            // Some network file systems know no locks; what a crash leaves there, stays.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(made),
        }
    }
}

/// Removes what writers of `path` left behind that were killed. One that still writes holds a lock on its file, and
/// what cannot be removed does no harm.
fn remove_abandoned(folder: &Path, path: &Path) {
    let prefix = prefix_of(path);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let (bytes, prefix) = (name.as_encoded_bytes(), prefix.as_encoded_bytes());
        let rest = bytes.strip_prefix(prefix);
        let middle = rest.and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX.as_bytes()));
        // The random part has no `-`: a file whose name goes on is another's.
        let is_own = middle.is_some_and(|middle| !middle.contains(&b'-'));
        if !is_own || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let opened = File::options().write(true).open(entry.path());
        if let Ok(file) = opened
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write_all_and_sync(
    file: &File,
    fill: &impl Fn(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    fill(&mut writer)?;
    writer.flush()?;
    file.sync_all()
}

fn compare(
    mut written: &File,
    path: &Path,
    fill: &impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<(), IoError> {
    // By the same handle: on some systems a lock keeps others from reading.
    written
        .rewind()
        .map_err(|reason| IoError::read(path, reason))?;
    let mut comparer = Comparer {
        file: BufReader::with_capacity(BUFFER_BYTES, written),
        found: Vec::new(),
        offset: 0,
        differs: false,
    };
    let filled = fill(&mut comparer);
    if !comparer.differs {
        filled.map_err(|reason| IoError::read(path, reason))?;
        let rest = comparer
            .file
            .read(&mut [0])
            .map_err(|reason| IoError::read(path, reason))?;
        comparer.differs = rest > 0;
    }
    if comparer.differs {
        return Err(IoError::ReadBack {
            file: path.to_owned(),
            offset: comparer.offset,
        });
    }
    Ok(())
}

/// A writer that stores nothing: it reads as many bytes from the file as it is given and compares.
struct Comparer<'a> {
    file: BufReader<&'a File>,
    found: Vec<u8>,
    /// Bytes found equal so far.
    offset: u64,
    differs: bool,
}

impl Write for Comparer<'_> {
    fn write(&mut self, wanted: &[u8]) -> io::Result<usize> {
        let wanted = &wanted[..wanted.len().min(BUFFER_BYTES)];
        self.found.clear();
        (&mut self.file)
            .take(wanted.len() as u64)
            .read_to_end(&mut self.found)?;
        let equal = wanted
            .iter()
            .zip(&self.found)
            .take_while(|(left, right)| left == right)
            .count();
        self.offset += equal as u64;
        if equal < wanted.len() {
            self.differs = true;
            return Err(io::Error::other("the file holds other bytes"));
        }
        Ok(wanted.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the rename itself survive a power cut. Elsewhere than on Unix folders cannot be opened,
/// and some network file systems refuse to flush one; both give no such promise, and the file is
/// complete.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result.map_err(|error| {
            io::Error::other(format!(
                "complete, but its folder cannot be flushed to the disk: {error}"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    /// A folder holding `model`, whose bytes are `old`.
    fn folder_with_old_file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, b"old").unwrap();
        (folder, path)
    }

    fn assert_only_the_old_file_is_left(folder: &Path) {
        let names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["model"]);
        assert_eq!(fs::read(folder.join("model")).unwrap(), b"old");
    }

    #[test]
    fn replaces_the_old_file_and_leaves_no_temporary() {
        let (folder, path) = folder_with_old_file();
        write_bytes(&path, b"new bytes").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new bytes");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn writes_more_than_one_buffer() {
        let (_folder, path) = folder_with_old_file();
        let bytes: Vec<u8> = (0..BUFFER_BYTES * 2 + 77)
            .map(|i| (i % 251) as u8)
            .collect();
        write_bytes(&path, &bytes).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        write_bytes(&path, &[]).unwrap();
        assert!(fs::read(&path).unwrap().is_empty());
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file_as_it_was() {
        let (folder, path) = folder_with_old_file();
        let result = write_with(&path, |writer| {
            writer.write_all(b"half")?;
            Err(io::Error::other("out of ideas"))
        });
        let message = result.unwrap_err().to_string();
        assert_eq!(
            message,
            format!("{}: cannot be written: out of ideas", path.display())
        );
        assert_only_the_old_file_is_left(folder.path());
    }

    #[test]
    fn bytes_that_differ_when_read_back_leave_the_old_file_as_it_was() {
        // (first call, second call, first byte that differs): other bytes, fewer bytes, more bytes.
        for (first, second, at) in [("abcd", "abXd", 2), ("abcd", "abc", 3), ("abc", "abcd", 3)] {
            let (folder, path) = folder_with_old_file();
            let is_second = Cell::new(false);
            let result = write_with(&path, |writer| {
                writer.write_all(
                    if is_second.replace(true) {
                        second
                    } else {
                        first
                    }
                    .as_bytes(),
                )
            });
            assert!(
                matches!(result, Err(IoError::ReadBack { offset, .. }) if offset == at),
                "{result:?}"
            );
            assert_only_the_old_file_is_left(folder.path());
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let (folder, _) = folder_with_old_file();
        for name in [".lapidary-a1B2c3.tmp", ".lapidary-x.tmp"] {
            fs::write(folder.path().join(name), b"half").unwrap();
        }
        fs::create_dir(folder.path().join(".lapidary-model-a1B2c3.tmp")).unwrap();
        remove_leftovers(folder.path()).unwrap();
        assert_only_the_old_file_is_left(folder.path());
        assert!(remove_leftovers(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("model");
        let message = write_bytes(&path, b"x").unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("{}: cannot be written: ", path.display())),
            "{message}"
        );
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_what_others_write_is_not() {
        let (folder, path) = folder_with_old_file();
        let left = |name: &str| {
            let file = folder.path().join(name);
            fs::write(&file, b"half").unwrap();
            file
        };
        let abandoned = left(".lapidary-model-a1B2c3.tmp");
        let other = [
            left(".lapidary-model-2-a1B2c3.tmp"),
            left(".lapidary-other-a1B2c3.tmp"),
            left("model-a1B2c3.tmp"),
        ];
        let writing = temporary_in(folder.path(), &path).unwrap();
        write_bytes(&path, b"new").unwrap();
        assert!(!abandoned.exists());
        assert!(other.iter().all(|file| file.exists()));
        assert!(writing.path().exists());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn where_nothing_can_be_written_is_known_beforehand() {
        let (folder, path) = folder_with_old_file();
        check_writable(&path).unwrap();
        assert_only_the_old_file_is_left(folder.path());
        let refused = |path: &Path| check_writable(path).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("there is a folder of that name"));
        assert!(write_bytes(folder.path(), b"x").is_err());
        assert!(refused(&folder.path().join("..")).contains("a file needs a name"));
        let missing = folder.path().join("missing").join("model");
        assert!(refused(&missing).starts_with(&missing.display().to_string()));
        // No folder of files, whoever asks.
        #[cfg(target_os = "linux")]
        assert!(refused(Path::new("/proc/model")).contains("cannot be written"));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [&pipe, &link] {
            let message = write_bytes(path, b"x").unwrap_err().to_string();
            assert!(message.contains("only files are replaced"), "{message}");
        }
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_readable_by_whom_the_umask_allows() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        fs::write(folder.path().join("plain"), b"x").unwrap();
        write_bytes(&folder.path().join("atomic"), b"x").unwrap();
        assert_eq!(mode("atomic"), mode("plain"));
    }
}
