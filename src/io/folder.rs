//! Folders of several files that are complete or as they were.
//!
//! A [`FolderDraft`] is filled beside the folder it is for. Only when it is whole does it take the folder's place: by
//! one rename where there is no folder, else by two, the old one aside and the new one in. So a full disk and a
//! killed writer leave what was there. Between the two renames the old folder is under the name that
//! [`set_aside`] tells; the next draft for it puts it back.
//!
//! Files of the old folder that the draft has not are moved into the new one, never removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::IoError;
use super::atomic::{TEMPORARY_PREFIX, TEMPORARY_SUFFIX, create_folder, sync_folder};

/// After the name of a folder set aside.
const ASIDE_SUFFIX: &str = ".old";
/// In a draft, locked as long as its writer lives.
const LOCK_FILE: &str = ".lock";

/// A folder that is being filled.
#[derive(Debug)]
pub struct FolderDraft {
    draft: tempfile::TempDir,
    lock: File,
    target: PathBuf,
    /// Name of the file that makes a folder whole: moved last into a folder that is there without it.
    last: &'static str,
}

/// Where the folder that was at `path` is, if a writer was killed between taking it away and putting the new one in.
pub fn set_aside(path: &Path) -> Option<PathBuf> {
    let aside = aside(path);
    (!path.exists() && aside.is_dir()).then_some(aside)
}

/// Whether a draft for the folder `target` could be made and take its place, as far as that can be known beforehand.
/// Whoever computes long before writing asks first. `last` is as for [`FolderDraft::begin`].
///
/// # Errors
/// [`IoError::Write`] if not.
pub fn check_writable(target: &Path, last: &str) -> Result<(), IoError> {
    let wrong = |reason| IoError::write(target, reason);
    let found = target.canonicalize();
    let is_replaced = found.as_ref().is_ok_and(|found| found.join(last).exists());
    let path = found.as_deref().unwrap_or(target);
    // The folder that is filled, or the nearest there is above one that is made or replaced.
    let mut above = path.ancestors().skip(usize::from(is_replaced));
    let place = above.find(|one| one.as_os_str().is_empty() || one.symlink_metadata().is_ok());
    let place = match place {
        Some(place) if !place.as_os_str().is_empty() => place,
        Some(_) | None => Path::new("."),
    };
    if !place.is_dir() {
        let reason = format!("{} is no folder", place.display());
        return Err(wrong(io::Error::other(reason)));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_SUFFIX);
    builder.tempdir_in(place).map_err(wrong).map(drop)
}

fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{TEMPORARY_PREFIX}{name}{ASIDE_SUFFIX}"))
}

impl FolderDraft {
    /// Begins a draft for the folder `target`, which may be missing. It replaces a folder that has the file `last`
    /// as a whole; one without it only takes the files.
    ///
    /// # Errors
    /// [`IoError::Write`] if the operating system refuses, or something else than a folder is there.
    pub fn begin(target: &Path, last: &'static str) -> Result<Self, IoError> {
        // Where links lead: the folder is replaced, not the link.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        let wrong = |reason| IoError::write(&target, reason);
        if target.exists() && !target.is_dir() {
            return Err(wrong(io::Error::other("there is a file of that name")));
        }
        recover(&target).map_err(wrong)?;
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let is_filled = target.is_dir() && !target.join(last).exists();
        let place = if is_filled { target.clone() } else { parent };
        create_folder(&place)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{TEMPORARY_PREFIX}{name}-");
        remove_abandoned(&place, &prefix);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(TEMPORARY_SUFFIX);
        // Private by default; a model is as public as the user's umask lets it be.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let draft = builder.tempdir_in(place).map_err(wrong)?;
        let lock = File::create(draft.path().join(LOCK_FILE)).map_err(wrong)?;
        // Some network file systems know no locks; what a crash leaves there, stays.
        let _ = lock.try_lock();
        Ok(Self {
            draft,
            lock,
            target,
            last,
        })
    }

    /// Where its files go.
    pub fn path(&self) -> &Path {
        self.draft.path()
    }

    /// Puts it into its place.
    ///
    /// # Errors
    /// [`IoError::Write`] if the operating system refuses; what was there is there again.
    pub fn finish(self) -> Result<(), IoError> {
        let Self {
            draft,
            lock,
            target,
            last,
        } = self;
        let wrong = |reason| IoError::write(&target, reason);
        drop(lock);
        fs::remove_file(draft.path().join(LOCK_FILE)).map_err(wrong)?;
        sync_folder(draft.path()).map_err(wrong)?;
        if target.is_dir() && !target.join(last).exists() {
            let mut names = names(draft.path()).map_err(wrong)?;
            names.sort_by_key(|name| name == last);
            for name in names {
                fs::rename(draft.path().join(&name), target.join(&name)).map_err(wrong)?;
            }
            return sync_folder(&target).map_err(wrong);
        }
        let aside = aside(&target);
        let is_replaced = target.is_dir();
        if is_replaced {
            fs::rename(&target, &aside).map_err(wrong)?;
        }
        if let Err(reason) = fs::rename(draft.path(), &target) {
            if is_replaced {
                fs::rename(&aside, &target).map_err(wrong)?;
            }
            return Err(wrong(reason));
        }
        // It is no temporary folder any more.
        let _ = draft.keep();
        if let Some(parent) = target.parent().filter(|one| !one.as_os_str().is_empty()) {
            sync_folder(parent).map_err(wrong)?;
        }
        recover(&target).map_err(wrong)
    }
}

/// Ends what a writer began: a folder set aside comes back where there is none, else what it alone has moves into the
/// new one.
fn recover(target: &Path) -> io::Result<()> {
    let aside = aside(target);
    if !aside.is_dir() {
        return Ok(());
    }
    if !target.exists() {
        return fs::rename(&aside, target);
    }
    for name in names(&aside)? {
        let place = target.join(&name);
        if !place.exists() {
            fs::rename(aside.join(&name), place)?;
        }
    }
    fs::remove_dir_all(&aside)
}

fn names(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

/// Removes drafts whose writers were killed: nobody holds their locks.
fn remove_abandoned(place: &Path, prefix: &str) {
    for name in names(place).unwrap_or_default() {
        let text = name.to_string_lossy();
        let rest = text.strip_prefix(prefix);
        let middle = rest.and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX));
        // The random part has no `-`: a folder whose name goes on is another's.
        if middle.is_none_or(|middle| middle.contains('-')) {
            continue;
        }
        let draft = place.join(&name);
        let lock = File::options().write(true).open(draft.join(LOCK_FILE));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(draft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(target: &Path, text: &str) -> Result<(), IoError> {
        let draft = FolderDraft::begin(target, "last")?;
        for name in ["last", "first"] {
            fs::write(draft.path().join(name), text).unwrap();
        }
        draft.finish()
    }

    fn sorted(folder: &Path) -> Vec<String> {
        let mut all: Vec<String> = names(folder)
            .unwrap()
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_folder_is_made_filled_and_replaced_and_others_files_stay() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("above").join("model");
        written(&target, "1").unwrap();
        assert_eq!(sorted(&target), ["first", "last"]);
        fs::write(target.join("notes"), "mine").unwrap();
        fs::create_dir(target.join("more")).unwrap();
        written(&target, "2").unwrap();
        assert_eq!(sorted(&target), ["first", "last", "more", "notes"]);
        assert_eq!(fs::read(target.join("last")).unwrap(), b"2");
        assert_eq!(sorted(target.parent().unwrap()), ["model"]);
        // Without its last file it is only filled.
        fs::remove_file(target.join("last")).unwrap();
        written(&target, "3").unwrap();
        assert_eq!(sorted(&target), ["first", "last", "more", "notes"]);
        assert_eq!(fs::read(target.join("first")).unwrap(), b"3");
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("model");
        written(&target, "old").unwrap();
        let draft = FolderDraft::begin(&target, "last").unwrap();
        fs::write(draft.path().join("last"), "half").unwrap();
        drop(draft);
        assert_eq!(fs::read(target.join("last")).unwrap(), b"old");
        assert_eq!(sorted(place.path()), ["model"]);
        let file = target.join("last");
        let message = written(&file, "x").unwrap_err().to_string();
        assert!(
            message.contains("there is a file of that name"),
            "{message}"
        );
    }

    #[test]
    fn what_a_killed_writer_left_is_put_right() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("model");
        written(&target, "old").unwrap();
        assert_eq!(set_aside(&target), None);
        // Killed while it filled its draft, and between the two renames.
        let left = place.path().join(".lapidary-model-a1B2c3.tmp");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK_FILE), "").unwrap();
        fs::rename(&target, aside(&target)).unwrap();
        assert_eq!(set_aside(&target), Some(aside(&target)));
        let draft = FolderDraft::begin(&target, "last").unwrap();
        assert_eq!(fs::read(target.join("last")).unwrap(), b"old");
        assert!(!left.exists());
        // One that still writes is left alone.
        written(&target, "new").unwrap();
        assert!(draft.path().exists());
        drop(draft);
        assert_eq!(sorted(place.path()), ["model"]);
    }

    #[test]
    fn where_nothing_can_be_written_is_known_beforehand() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("above").join("model");
        check_writable(&target, "last").unwrap();
        assert_eq!(sorted(place.path()), [""; 0]);
        written(&target, "1").unwrap();
        check_writable(&target, "last").unwrap();
        let refused = |path: &Path| check_writable(path, "last").unwrap_err().to_string();
        let file = target.join("first");
        assert!(
            refused(&file).contains("is no folder"),
            "{}",
            refused(&file)
        );
        assert!(refused(&file.join("model")).contains("is no folder"));
        // No folder of files, whoever asks.
        #[cfg(target_os = "linux")]
        assert!(refused(Path::new("/proc/model")).contains("cannot be written"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let (target, link) = (place.path().join("model"), place.path().join("link"));
        written(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        written(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(target.join("last")).unwrap(), b"new");
    }
}
