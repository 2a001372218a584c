//! The most memory that this process ever had.

/// Bytes, as Linux counts resident pages (`VmHWM`); unknown elsewhere.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_peak_rises_with_what_is_touched() {
        let before = super::peak().unwrap();
        let touched = std::hint::black_box(vec![1u8; before as usize + (1 << 20)]);
        let after = super::peak().unwrap();
        assert!(after >= touched.len() as u64 && after > before, "{before} {after}");
    }
}
