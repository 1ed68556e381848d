//! Pays in advance for the bytes that a conversion of a payload will need, from the account that
//! paid for the payload.

use smallvec::SmallVec;

use super::payload::{Payload, Permit, Reason};

/// Largest copy that is made even if the budget has no room for it. Each worker makes one at a
/// time.
const ALWAYS: usize = 1 << 20;

/// Bytes drawn from an account for one purpose, given back when the purse is dropped.
#[derive(Debug, Default)]
pub struct Purse {
    /// `None` if the payload is not paid for.
    account: Option<Permit>,
    /// Bytes that may be drawn even if the account is empty.
    credit: u64,
    /// Bytes drawn so far; `left` of them are not spent yet.
    drawn: u64,
    left: u64,
    permits: SmallVec<[Permit; 1]>,
}

impl Purse {
    /// A purse that draws on the account of `permit`. The first `credit` bytes are granted even if
    /// the account is empty (the next acquirer waits until the debt is paid); more only if free.
    pub fn new(permit: Option<&Permit>, credit: usize) -> Self {
        Purse { account: permit.cloned(), credit: credit as u64, ..Purse::default() }
    }

    /// A purse for an edited copy of a payload. The copy replaces the original, so it may be up to
    /// twice as large, within a limit, even if the budget is exhausted: a small edit should not
    /// fail for lack of room. Larger growth must find free bytes. Otherwise a sender could turn a
    /// megabyte of empty items into any amount of memory.
    pub fn for_copy_of(payload: &Payload) -> Self {
        let credit = payload.len().saturating_mul(9) / 4 + (8 << 10);
        let is_shared = payload.permits.iter().any(Permit::is_shared);
        let credit = if is_shared || credit > ALWAYS { 0 } else { credit };
        Purse::new(payload.permits.first(), credit)
    }

    /// Pays for `bytes` more bytes, or fails if they are not free.
    pub fn pay(&mut self, bytes: usize) -> Result<(), Reason> {
        let bytes = bytes as u64;
        if let (Some(account), true) = (&self.account, bytes > self.left) {
            // Draw more than is needed now, so that many small payments need few charges.
            let more = (bytes - self.left).max(self.drawn / 4);
            let permit = if self.drawn + more <= self.credit {
                account.more(more)
            } else {
                account.try_more(more).ok_or(Reason::OverBudget)?
            };
            self.permits.push(permit);
            self.drawn += more;
            self.left += more;
        }
        self.left = self.left.saturating_sub(bytes);
        Ok(())
    }

    /// Appends to a list and pays for its growth; the capacity doubles.
    pub fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), Reason> {
        if list.len() == list.capacity() {
            let more = list.len().max(8);
            self.pay((list.len() + more) * size_of::<T>())?;
            list.reserve_exact(more);
        }
        list.push(item);
        Ok(())
    }

    /// The permits for all bytes drawn, to be kept with the result.
    pub fn into_permits(self) -> SmallVec<[Permit; 1]> {
        self.permits
    }
}
