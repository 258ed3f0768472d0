//! Diagnostics: errors are collected, never returned early, so that one run shows every mistake.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use std::cell::RefCell;
use std::fmt::Display;

/// Where errors go. Parsing and checking continue after each.
#[derive(Default)]
pub(crate) struct Sink(RefCell<Vec<syn::Error>>);

impl Sink {
    pub(crate) fn push(&self, error: syn::Error) {
        self.0.borrow_mut().push(error);
    }

    pub(crate) fn at(&self, span: Span, message: impl Display) {
        self.push(syn::Error::new(span, message));
    }

    pub(crate) fn on(&self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(crate) fn drain_into(self, other: &Sink) {
        other.0.borrow_mut().extend(self.0.into_inner());
    }

    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.into_inner().iter().map(syn::Error::to_compile_error).collect()
    }
}

/// The known words closest to `word`, those that are close enough to be a slip of the finger. Where several are equally close,
/// as to `uscd` are `usd` and `usdc`, the ones of the same length come first: letters are swapped or missed more often than
/// they are added.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Vec<&'a str> {
    let near = known.iter().map(|known| (distance(word, known), *known));
    let near: Vec<_> = near.filter(|(distance, known)| *distance <= 1.max(known.len() / 3)).collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    let mut nearest: Vec<&str> =
        near.into_iter().filter(|(distance, _)| Some(*distance) == least).map(|(_, known)| known).collect();
    nearest.sort_by_key(|known| known.len().abs_diff(word.len()));
    nearest
}

/// Asks whether one of these was meant; none if there are none.
pub(crate) fn did_you_mean(nearest: &[&str]) -> Option<String> {
    let words: Vec<_> = nearest.iter().map(|word| format!("`{word}`")).collect();
    (!words.is_empty()).then(|| format!("did you mean {}?", words.join(" or ")))
}

/// `` `a`, `b`, `c` ``
pub(crate) fn list(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

/// The same tokens, meaning the same, reported at `span`.
///
/// rustc underlines from the first token of a construct to its last: a path to this library in front would stretch every
/// error to the whole attribute.
pub(crate) fn at(span: Span, tokens: impl ToTokens) -> TokenStream {
    let each = tokens.into_token_stream().into_iter().map(|mut tree| {
        if let TokenTree::Group(group) = &tree {
            let mut moved = Group::new(group.delimiter(), at(span, group.stream()));
            moved.set_span(group.span().located_at(span));
            tree = TokenTree::Group(moved);
        } else {
            tree.set_span(tree.span().located_at(span));
        }
        tree
    });
    each.collect()
}

/// Edit distance with transpositions (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Row `i` holds the distances between the first `i` characters of `a` and every beginning of `b`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, nearest};

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_another_word_does_not() {
        let known = ["amount", "currency", "methods"];
        assert_eq!(nearest("ammount", &known), ["amount"]);
        assert_eq!(nearest("aomunt", &known), ["amount"]);
        assert_eq!(nearest("method", &known), ["methods"]);
        assert!(nearest("price", &known).is_empty());
    }

    #[test]
    fn of_words_that_are_equally_close_all_are_named_and_the_likelier_one_first() {
        let known = ["usd", "usdc", "eur", "eurc"];
        for (word, question) in [
            ("uscd", "did you mean `usdc` or `usd`?"),
            ("usdd", "did you mean `usdc` or `usd`?"),
            ("us", "did you mean `usd`?"),
            ("euc", "did you mean `eur` or `eurc`?"),
        ] {
            assert_eq!(did_you_mean(&nearest(word, &known)).as_deref(), Some(question), "{word}");
        }
        assert_eq!(did_you_mean(&nearest("bitcoin", &known)), None);
    }
}
