//! Where a file can be mutated, and how a mutated file is written.
//!
//! Every mutant of a file is in the file at once, behind a choice at run time: `if paid` becomes
//! `if crate::mutants::flip(7, paid)`. No line moves, so that a compiler error on a mutated file names the line of the
//! original. The other half, `crate::mutants`, is `runtime.rs`, which is appended to the crate that is examined.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, ReturnType, Stmt, Type};

/// Methods whose closure answers yes or no.
const PREDICATES: [&str; 11] = [
    "filter",
    "any",
    "all",
    "find",
    "position",
    "retain",
    "skip_while",
    "take_while",
    "is_some_and",
    "is_ok_and",
    "is_none_or",
];

/// Macros that only write logs, or only check what other tests see anyway.
const IGNORED_MACROS: [&str; 8] =
    ["trace", "debug", "info", "warn", "error", "debug_assert", "debug_assert_eq", "debug_assert_ne"];

/// One place, and the one thing done to it.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// The innermost function around it.
    pub(super) function: String,
    /// First and last line, from 1.
    pub(super) lines: (usize, usize),
    /// What is done, in words and code: "not `paid`".
    pub(super) what: String,
    pub(super) change: Change,
}

/// Byte ranges are those of the original file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// `a` → `!a`
    Negate(Range<usize>),
    /// `a && b` → `a || b` and back, written `!(!a && !b)`: nothing is evaluated twice or in another order.
    Swap { whole: Range<usize>, left: Range<usize>, right: Range<usize> },
    /// `a < b` → `a <= b` and the like; the function of `runtime.rs` that compares.
    Boundary { left: Range<usize>, right: Range<usize>, compare: &'static str },
    /// The statement is not executed.
    Remove(Range<usize>),
}

/// Every site of a file, in the order of the file.
///
/// # Errors
/// When the file is not Rust.
pub(super) fn find(source: &str) -> Result<Vec<Site>, syn::Error> {
    let mut finder = Finder { source, function: String::new(), sites: Vec::new() };
    finder.visit_file(&syn::parse_file(source)?);
    finder.sites.sort_by_key(|site| site.lines);
    Ok(finder.sites)
}

/// The file with the numbered changes in it.
pub(super) fn write<'a>(source: &str, changes: impl Iterator<Item = (u32, &'a Change)>) -> String {
    let mut edits: Vec<Edit> = changes.flat_map(|(id, change)| change.edits(id)).collect();
    edits.sort_by_key(|edit| edit.order);
    let (mut out, mut done) = (String::with_capacity(source.len() * 2), 0);
    for edit in edits {
        out.push_str(&source[done..edit.at.start]);
        out.push_str(&edit.text);
        done = edit.at.end;
    }
    out.push_str(&source[done..]);
    out
}

struct Finder<'a> {
    source: &'a str,
    function: String,
    sites: Vec<Site>,
}

impl Finder<'_> {
    fn push(&mut self, spanned: &impl Spanned, what: String, change: Change) {
        if self.sites.iter().any(|site| site.change == change) {
            return; // the same comparison, once as a condition and once as a comparison
        }
        let span = spanned.span();
        let lines = (span.start().line, span.end().line);
        self.sites.push(Site { function: self.function.clone(), lines, what, change });
    }

    /// An expression that is known to be a `bool`.
    fn condition(&mut self, expr: &Expr) {
        match expr {
            Expr::Let(_) | Expr::Lit(_) => {}
            Expr::Paren(inner) => self.condition(&inner.expr),
            // Its terms are negated one by one.
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) => {}
            _ => {
                let what = format!("not `{}`", self.text(expr));
                self.push(expr, what, Change::Negate(range(expr)));
            }
        }
    }

    /// The code on one line, shortened.
    fn text(&self, spanned: &impl Spanned) -> String {
        let text = self.source[range(spanned)].split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    fn within(&mut self, function: &syn::Signature, block: &syn::Block, visit: impl FnOnce(&mut Self)) {
        if function.constness.is_some() {
            return; // a choice at run time cannot be made in a constant
        }
        let outer = std::mem::replace(&mut self.function, function.ident.to_string());
        if let (true, Some(Stmt::Expr(tail, None))) = (returns_bool(&function.output), block.stmts.last()) {
            self.condition(tail);
        }
        visit(self);
        self.function = outer;
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        // `cfg(test)`, and `cfg(all(test, feature = "testing"))`.
        let is_test = |attr: &syn::Attribute| match &attr.meta {
            syn::Meta::List(list) if attr.path().is_ident("cfg") => {
                let words = list.tokens.to_string();
                words.split(|c: char| !c.is_alphanumeric() && c != '"').any(|word| word == "test")
            }
            _ => false,
        };
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.within(&function.sig, &function.block, |this| visit::visit_item_fn(this, function));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.within(&function.sig, &function.block, |this| visit::visit_impl_item_fn(this, function));
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.within(&function.sig, block, |this| visit::visit_trait_item_fn(this, function));
        }
    }

    fn visit_expr_if(&mut self, expr: &'ast syn::ExprIf) {
        self.condition(&expr.cond);
        visit::visit_expr_if(self, expr);
    }

    fn visit_expr_while(&mut self, expr: &'ast syn::ExprWhile) {
        self.condition(&expr.cond);
        visit::visit_expr_while(self, expr);
    }

    fn visit_pat_guard(&mut self, guard: &'ast syn::PatGuard) {
        self.condition(&guard.guard);
        visit::visit_pat_guard(self, guard);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let name = call.method.to_string();
        if let (true, Some(Expr::Closure(closure))) = (PREDICATES.contains(&&*name), call.args.first()) {
            match &*closure.body {
                Expr::Block(body) => {
                    if let Some(Stmt::Expr(tail, None)) = body.block.stmts.last() {
                        self.condition(tail);
                    }
                }
                body => self.condition(body),
            }
        }
        let lazily = matches!(call.args.first(), Some(Expr::Closure(closure)) if closure.inputs.is_empty());
        if name == "then_some" || (name == "then" && lazily) {
            self.condition(&call.receiver);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_macro(&mut self, expr: &'ast syn::ExprMacro) {
        if expr.mac.path.is_ident("matches") {
            self.condition(&Expr::Macro(expr.clone()));
        }
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let (whole, left, right) = (range(expr), range(&expr.left), range(&expr.right));
        let boundary = match expr.op {
            BinOp::And(_) | BinOp::Or(_) => {
                if !has_let(&expr.left) && !has_let(&expr.right) {
                    let what = format!("`{}` with the other of && and ||", self.text(expr));
                    self.push(expr, what, Change::Swap { whole, left, right });
                }
                self.condition(&expr.left);
                self.condition(&expr.right);
                None
            }
            BinOp::Eq(_) | BinOp::Ne(_) => {
                self.condition(&Expr::Binary(expr.clone()));
                None
            }
            BinOp::Lt(_) => Some(("below", "<=")),
            BinOp::Le(_) => Some(("at_most", "<")),
            BinOp::Gt(_) => Some(("above", ">=")),
            BinOp::Ge(_) => Some(("at_least", ">")),
            _ => None,
        };
        if let Some((compare, instead)) = boundary {
            self.condition(&Expr::Binary(expr.clone()));
            let what = format!("`{instead}` in `{}`", self.text(expr));
            let (left, right) = (range(&expr.left), range(&expr.right));
            self.push(expr, what, Change::Boundary { left, right, compare });
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_stmt(&mut self, stmt: &'ast Stmt) {
        let removable = match stmt {
            Stmt::Expr(expr, Some(_)) => has_no_value(expr),
            // `let _ = x;` only says that a name is used.
            Stmt::Local(local) => {
                let value = local.init.as_ref().map(|init| &*init.expr);
                matches!(local.pat, syn::Pat::Wild(_))
                    && local.attrs.is_empty()
                    && !matches!(value, Some(Expr::Path(_)))
            }
            Stmt::Macro(call) => call.attrs.is_empty() && !only_watches(&call.mac),
            _ => false,
        };
        if removable {
            let what = format!("without `{}`", self.text(stmt));
            self.push(stmt, what, Change::Remove(range(stmt)));
        }
        visit::visit_stmt(self, stmt);
    }
}

/// A statement that is executed for what it does.
fn has_no_value(expr: &Expr) -> bool {
    match expr {
        Expr::Call(call) => call.attrs.is_empty(),
        Expr::MethodCall(call) => call.attrs.is_empty(),
        Expr::Assign(assign) => assign.attrs.is_empty(),
        Expr::Binary(binary) => binary.attrs.is_empty(), // `+=`
        Expr::Await(inner) => has_no_value(&inner.base),
        Expr::Try(inner) => has_no_value(&inner.expr),
        _ => false,
    }
}

fn only_watches(mac: &syn::Macro) -> bool {
    mac.path.segments.last().is_some_and(|name| IGNORED_MACROS.iter().any(|ignored| name.ident == ignored))
}

fn returns_bool(output: &ReturnType) -> bool {
    matches!(output, ReturnType::Type(_, ty) if matches!(&**ty, Type::Path(path) if path.path.is_ident("bool")))
}

/// Whether the expression is, or chains, a `let`: only `&&` may join those.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

fn range(spanned: &impl Spanned) -> Range<usize> {
    spanned.span().byte_range()
}

/// A piece of text in place of a range, which is empty for an insertion.
struct Edit {
    at: Range<usize>,
    text: String,
    order: Order,
}

/// Edits at one place: what ends there closes, inner before outer; then what begins there opens, outer before
/// inner. Two changes of one range nest by number.
type Order = (usize, u8, isize, i64);

/// More than any number of a mutant.
const INNERMOST: i64 = 1 << 32;

impl Change {
    fn edits(&self, id: u32) -> Vec<Edit> {
        let call = |name: &str| format!("crate::mutants::{name}({id}, ");
        match self {
            Change::Negate(at) => wrap(id, at, call("flip"), ")").into(),
            Change::Remove(at) => wrap(id, at, format!("if crate::mutants::live({id}) {{ "), " }").into(),
            Change::Swap { whole, left, right } => {
                [whole, left, right].into_iter().flat_map(|at| wrap(id, at, call("flip"), ")")).collect()
            }
            Change::Boundary { left, right, compare } => {
                let operator =
                    Edit { at: left.end..right.start, text: "), &(".to_owned(), order: (left.end, 1, 0, 0) };
                // Innermost, whatever the numbers: a change of the whole comparison may not come between its operands.
                let [open, close] = wrap(id, &(left.start..right.end), format!("{}&(", call(compare)), "))");
                let nested = |edit: Edit, by| {
                    let (at, side, length, id) = edit.order;
                    Edit { order: (at, side, length, id + by), ..edit }
                };
                let whole = [nested(open, INNERMOST), nested(close, -INNERMOST)];
                whole.into_iter().chain([operator]).collect()
            }
        }
    }

    /// Whether this fits whatever the types are; the others are dropped first when a mutated file does not compile.
    pub(super) fn always_fits(&self) -> bool {
        matches!(self, Change::Negate(_) | Change::Swap { .. })
    }
}

fn wrap(id: u32, at: &Range<usize>, open: String, close: &str) -> [Edit; 2] {
    let (length, id) = (at.len().cast_signed(), i64::from(id));
    [
        Edit { at: at.start..at.start, text: open, order: (at.start, 2, -length, id) },
        Edit { at: at.end..at.end, text: close.to_owned(), order: (at.end, 0, length, -id) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutated(body: &str) -> (Vec<String>, String) {
        let source = format!("fn f() {{ {body} }}");
        let sites = find(&source).expect("Rust");
        let text = write(&source, (1..).zip(sites.iter().map(|site| &site.change)));
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let body =
            text.strip_prefix("fn f() { ").and_then(|text| text.strip_suffix(" }")).expect("the same frame");
        (sites.into_iter().map(|site| site.what).collect(), body.replace("crate::mutants::", "").to_owned())
    }

    #[test]
    fn a_condition_is_negated_and_a_statement_is_removed() {
        let (what, text) = mutated("if paid { deliver(); } else { return; }");
        assert_eq!(what, ["not `paid`", "without `deliver();`"]);
        assert_eq!(text, "if flip(1, paid) { if live(2) { deliver(); } } else { return; }");
    }

    #[test]
    fn the_terms_of_a_conjunction_are_negated_one_by_one_and_it_becomes_a_disjunction() {
        let (_, text) = mutated("let x = a && b;");
        assert_eq!(text, "let x = flip(1, flip(1, flip(2, a)) && flip(1, flip(3, b)));");
    }

    #[test]
    fn a_let_chain_keeps_its_let_and_loses_its_other_terms() {
        let (what, text) = mutated("if let Some(x) = y && x.open {}");
        assert_eq!(what, ["not `x.open`"]);
        assert_eq!(text, "if let Some(x) = y && flip(1, x.open) {}");
    }

    #[test]
    fn a_comparison_is_moved_by_one_and_negated_once() {
        let (what, text) = mutated("if a < b + 1 {}");
        assert_eq!(what, ["not `a < b + 1`", "`<=` in `a < b + 1`"]);
        assert_eq!(text, "if flip(1, below(2, &(a), &(b + 1))) {}");
    }

    #[test]
    fn a_comparison_that_is_a_term_on_several_lines_keeps_its_operands_together() {
        // Sites are numbered by their lines, so the comparison has a lower number than what it is a term of.
        let (_, text) = mutated("if a > b\n|| c {}");
        assert_eq!(text, "if flip(3, flip(1, flip(3, above(2, &(a), &(b))))\n|| flip(3, flip(4, c))) {}");
    }

    #[test]
    fn guards_predicates_and_matches_are_conditions() {
        let (what, _) = mutated(
            "match x { y if y.ok => {}, _ => {} } z.retain(|w| matches!(w, 1)); let _ = p.any(|q| *q == 2);",
        );
        assert!(what.contains(&"not `y.ok`".to_owned()), "{what:?}");
        assert!(what.contains(&"not `matches!(w, 1)`".to_owned()), "{what:?}");
        assert!(what.contains(&"not `*q == 2`".to_owned()), "{what:?}");
    }

    #[test]
    fn tests_constants_logs_and_names_that_are_not_used_are_left_alone() {
        let source = "const A: bool = 1 < 2; const fn c() -> bool { 1 < 2 } #[cfg(test)] mod tests { fn t() { x(); } } \
                      fn f() { tracing::warn!(\"no\"); let _ = free; }";
        assert!(find(source).expect("Rust").is_empty());
    }
}
