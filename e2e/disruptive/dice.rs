//! Chance that can be had again.

/// xorshift64*, so that a seed that was printed gives the same kills again.
pub struct Dice(u64);

impl Dice {
    /// ERRAND_E2E_SEED, or the clock's.
    pub fn new() -> Self {
        let clock = || {
            k8s_openapi::jiff::Timestamp::now()
                .as_microsecond()
                .unsigned_abs()
        };
        let seed = std::env::var("ERRAND_E2E_SEED")
            .ok()
            .map_or_else(clock, |seed| seed.parse().unwrap());
        eprintln!("ERRAND_E2E_SEED={seed}");
        Self(seed.max(1))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}
