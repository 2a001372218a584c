//! Which teacher rows a student row is compared with.

/// The rows of one picture in every teacher view but the student row's own. teacher (globals, batch, k).
#[derive(Clone, Copy)]
pub struct Partners<'a> {
    teacher: &'a [f32],
    globals: usize,
    batch: usize,
    k: usize,
    view: usize,
    sample: usize,
}

impl<'a> Partners<'a> {
    /// Those of the student's row number `row`, of (views, batch).
    pub fn of(teacher: &'a [f32], globals: usize, batch: usize, k: usize, row: usize) -> Self {
        Partners { teacher, globals, batch, k, view: row / batch, sample: row % batch }
    }

    #[inline(always)]
    pub fn rows(self) -> impl Iterator<Item = &'a [f32]> {
        (0..self.globals)
            .filter(move |view| *view != self.view)
            .map(move |view| &self.teacher[(view * self.batch + self.sample) * self.k..][..self.k])
    }
}
