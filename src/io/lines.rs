//! A file of lines that grows: a line is on the disk before the next one is made.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::IoError;

/// A file of lines, open for more. Only one process has it at a time.
#[derive(Debug)]
pub struct Lines {
    file: File,
    path: PathBuf,
}

impl Lines {
    /// Opens the file, or makes it, and returns what lines it has. A last line without its end, of a process
    /// that was stopped while it wrote, is taken away.
    ///
    /// # Errors
    /// [`IoError::Read`], also where another process has it, [`IoError::Write`], [`IoError::NotUtf8`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Vec<String>), IoError> {
        let path = path.as_ref();
        let read = |reason| IoError::read(path, reason);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(read)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => read(std::io::Error::other("another process has it open")),
            TryLockError::Error(reason) => read(reason),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(read)?;
        let end = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        if end < bytes.len() {
            file.set_len(end as u64)
                .map_err(|reason| IoError::write(path, reason))?;
            bytes.truncate(end);
        }
        file.seek(SeekFrom::Start(end as u64)).map_err(read)?;
        let text = String::from_utf8(bytes).map_err(|reason| IoError::NotUtf8 {
            file: path.to_owned(),
            at: reason.utf8_error().valid_up_to(),
        })?;
        let lines = text.lines().map(str::to_owned).collect();
        let path = path.to_owned();
        Ok((Self { file, path }, lines))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, which holds no line break, and waits until the disk has it.
    ///
    /// # Errors
    /// [`IoError::Write`].
    pub fn append(&mut self, line: &str) -> Result<(), IoError> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|reason| IoError::write(&self.path, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_there_again_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("log");
        let (mut log, lines) = Lines::open(&path).expect("makes it");
        assert!(lines.is_empty());
        log.append("one").expect("writes");
        log.append("two").expect("writes");
        let refused = Lines::open(&path).expect_err("in use").to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(log);
        std::fs::write(&path, "one\ntwo\nthr").expect("writes");
        let (mut log, lines) = Lines::open(&path).expect("opens");
        assert_eq!(lines, ["one", "two"]);
        log.append("three").expect("writes");
        drop(log);
        assert_eq!(
            std::fs::read_to_string(&path).expect("reads"),
            "one\ntwo\nthree\n"
        );
        assert!(matches!(
            Lines::open(folder.path()),
            Err(IoError::Read { .. })
        ));
    }
}
