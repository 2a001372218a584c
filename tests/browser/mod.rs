//! Pages as a browser shows them: headless Chromium, of which the machine needs one (Debian's package `chromium`). For every test that
//! looks at a page.

use std::path::Path;
use std::process::{Command, Stdio};

/// What a browser made of a page.
pub struct Shown {
    /// The document after it was laid out.
    pub document: String,
    /// What its console says: errors, and everything that the page's own policy refuses.
    pub console: Vec<String>,
    /// A picture of the page's top.
    pub picture: image::RgbImage,
}

/// The first of these that there is.
fn chromium() -> &'static str {
    let found = |name: &&str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ]
    .into_iter()
    .find(found)
    .expect("this test looks at a page in Chromium, which is not here: apt-get install chromium")
}

/// Opens a page without a network and looks at it in a window of this size.
pub fn open(page: &Path, (width, height): (u32, u32)) -> Shown {
    let folder = tempfile::tempdir().unwrap();
    let shot = folder.path().join("page.png");
    let output = Command::new(chromium())
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--no-first-run"])
        .args(["--enable-logging=stderr", "--log-level=0", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", shot.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && shot.is_file(), "{said}");
    Shown {
        document: String::from_utf8_lossy(&output.stdout).into_owned(),
        console: said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect(),
        picture: image::open(&shot).unwrap().to_rgb8(),
    }
}

impl Shown {
    /// The share of the picture that has this color, nearly.
    pub fn share(&self, color: [u8; 3]) -> f64 {
        let near = |pixel: &image::Rgb<u8>| pixel.0.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 8);
        let found = self.picture.pixels().filter(|pixel| near(pixel)).count();
        found as f64 / f64::from(self.picture.width() * self.picture.height())
    }
}
