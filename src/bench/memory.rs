//! What the system says of memory: the most that this process ever had, and what there is of it. Known on Linux alone.

/// Bytes that were resident at the process's peak (`VmHWM`).
pub fn peak() -> Option<u64> {
    kibibytes("/proc/self/status", "VmHWM:")
}

/// Lets the peak be what is resident now, so that what comes next is told from what was before. Says whether the system can.
pub fn forget_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Bytes of the machine's memory, or of the part of it that a container may use.
pub fn total() -> Option<u64> {
    let whole = kibibytes("/proc/meminfo", "MemTotal:")?;
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    // a limit that is none is the word `max`, or more than there is
    let limits =
        limits.into_iter().filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    Some(limits.fold(whole, u64::min))
}

/// A figure of one of the system's lists: `MemTotal:  16384 kB`.
fn kibibytes(file: &str, word: &str) -> Option<u64> {
    let list = std::fs::read_to_string(file).ok()?;
    let line = list.lines().find_map(|line| line.strip_prefix(word))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_peak_rises_with_what_is_touched_and_is_a_part_of_the_whole() {
        let before = super::peak().unwrap();
        let touched = std::hint::black_box(vec![1u8; before as usize + (1 << 20)]);
        let after = super::peak().unwrap();
        assert!(after >= touched.len() as u64 && after > before, "{before} {after}");
        let total = super::total().unwrap();
        assert!(total > after, "{after} of {total}");
        drop(touched);
        if super::forget_peak() {
            let now = super::peak().unwrap();
            assert!(now < after, "{now} after {after}");
        }
    }
}
