//! The shape of an attention and where its pieces lie.

/// The shape of an attention; only the first `queries` tokens of each sequence ask (1 for the CLS token alone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    pub batch: usize,
    pub tokens: usize,
    pub queries: usize,
    pub heads: usize,
    pub head_dim: usize,
}

/// Scores kept at a time: with the gradient's as many again, they fit an L2 cache of 1 MiB.
const SCORES: usize = 1 << 16;

impl Dims {
    /// From one token's query to the next token's.
    pub(super) fn stride(self) -> usize {
        3 * self.heads * self.head_dim
    }

    /// From one query's output to the next one's.
    pub(super) fn out_stride(self) -> usize {
        self.heads * self.head_dim
    }

    /// The length of a row of scores: tokens, in whole vectors.
    pub(super) fn padded(self) -> usize {
        self.tokens.next_multiple_of(16)
    }

    /// Queries to take at a time.
    pub(super) fn block(self) -> usize {
        (SCORES / self.tokens).clamp(16, self.queries.max(16)).min(self.queries)
    }

    /// Where part 0 (query), 1 (key) or 2 (value) of a token starts in qkv.
    pub(super) fn at(self, task: usize, token: usize, part: usize) -> usize {
        let (batch, head) = (task / self.heads, task % self.heads);
        (batch * self.tokens + token) * self.stride() + (part * self.heads + head) * self.head_dim
    }

    /// Where a query stands in out.
    pub(super) fn out_at(self, task: usize, query: usize) -> usize {
        let (batch, head) = (task / self.heads, task % self.heads);
        (batch * self.queries + query) * self.out_stride() + head * self.head_dim
    }

    /// The row of a token in qkv as a matrix of `stride` columns.
    pub(super) fn row(self, task: usize, token: usize) -> usize {
        task / self.heads * self.tokens + token
    }

    /// The row of a query in out as a matrix of `out_stride` columns.
    pub(super) fn out_row(self, task: usize, query: usize) -> usize {
        task / self.heads * self.queries + query
    }

    /// The column where a head's part starts in either.
    pub(super) fn column(self, task: usize, part: usize) -> usize {
        (part * self.heads + task % self.heads) * self.head_dim
    }

    /// Panics unless qkv has its length, and every other buffer a row of its width for each head's query.
    pub(super) fn check(self, qkv: usize, rows: &[(usize, usize)]) {
        assert!(
            (1..=self.tokens).contains(&self.queries) && self.head_dim > 0,
            "attention asks for 1 to {} queries, not {}",
            self.tokens,
            self.queries
        );
        assert_eq!(
            qkv,
            self.batch * self.tokens * self.stride(),
            "qkv is (batch, tokens, 3, heads, head_dim)"
        );
        for (length, width) in rows {
            assert_eq!(
                *length,
                self.batch * self.heads * self.queries * width,
                "a row for each head's query"
            );
        }
    }
}
