//! How much memory the machine still has.

/// Bytes that new allocations can take without swapping, what caches of files would give back included; `None` where
/// the system does not say.
#[must_use]
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    available(&text)
}

fn available(text: &str) -> Option<u64> {
    line_of(text, "MemAvailable:")
}

/// Bytes of a line that begins so and ends in `kB`.
fn line_of(text: &str, begin: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(begin))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The most bytes of memory that this process held at a time, since it began or since [`forget_peak_memory`]; `None`
/// where the system does not say.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    line_of(&text, "VmHWM:")
}

/// Lets [`peak_memory`] begin again from what is held now; `false` where the system cannot.
pub fn forget_peak_memory() -> bool {
    // 5 resets the mark of the process that writes it (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_in_bytes_and_nothing_is_guessed() {
        let text = "MemTotal:       32657816 kB\nMemAvailable:   27148388 kB\n";
        assert_eq!(available(text), Some(27_148_388 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
        let status = "VmPeak:\t    8192 kB\nVmHWM:\t    2048 kB\n";
        assert_eq!(line_of(status, "VmHWM:"), Some(2048 * 1024));
        assert_eq!(line_of("VmPeak:\t 1 kB\n", "VmHWM:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_is_at_least_what_was_held() {
        let before = peak_memory().expect("Linux says it");
        let large = vec![1_u8; 64 << 20];
        assert!(large.iter().all(|&byte| byte == 1));
        let held = peak_memory().expect("Linux says it");
        assert!(held >= 64 << 20 && held >= before, "{before} {held}");
    }
}
