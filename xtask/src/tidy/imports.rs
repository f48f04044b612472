//! Which file takes what from which: the paths of a crate's own, resolved to the files of its modules.
//!
//! Reads the syntax of product code; unit tests may take what they like. What a file takes from the
//! modules that it stands in is not among it: those are opened together.

use std::collections::{BTreeMap, BTreeSet};

use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, Meta, Path, UseTree, Visibility, visit, visit::Visit,
};

/// A module by its path from the crate's root; the root is empty.
type Module = Vec<String>;

/// The files of one crate, with what each takes from the others.
#[derive(Debug, Default)]
pub struct Imports {
    /// By file, by the file taken from: the names.
    pub taken: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

/// What one file says of itself.
#[derive(Debug)]
struct Unit {
    file: String,
    module: Module,
    /// Paths from the root of the crate that product code names.
    names: Vec<Vec<String>>,
    /// What the file hands on under a name of its own module: `pub use`.
    handed_on: BTreeMap<String, Vec<String>>,
}

impl Imports {
    /// `source` is the crate's `src/` with its `/`; files that are not Rust are passed over, and so
    /// are those of `for_tests`, whose names come without `.rs`.
    pub fn read<'f>(
        source: &str,
        files: impl Iterator<Item = (&'f str, &'f str)>,
        for_tests: &[String],
    ) -> Self {
        let units: Vec<Unit> = files
            .filter_map(|(path, text)| {
                let stem = path.strip_suffix(".rs")?;
                let inner = stem.strip_prefix(source)?;
                let test = |of: &String| stem == of || stem.starts_with(&format!("{of}/"));
                if for_tests.iter().any(test) { None } else { Unit::read(path, inner, text) }
            })
            .collect();
        let by_module: BTreeMap<&[String], &Unit> =
            units.iter().map(|unit| (unit.module.as_slice(), unit)).collect();
        let mut imports = Self::default();
        for unit in &units {
            let taken = imports.taken.entry(unit.file.clone()).or_default();
            for name in &unit.names {
                let Some((from, what)) = resolve(&by_module, name, 0) else { continue };
                // A module's own file is the vocabulary of all that it holds.
                if !unit.module.starts_with(&from.module) {
                    taken.entry(from.file.clone()).or_default().insert(what);
                }
            }
        }
        imports
    }
}

/// The file that defines what a path names, and the name there. What a module only hands on is
/// its own: it follows `pub use` to where the thing is.
fn resolve<'u>(
    by_module: &BTreeMap<&[String], &'u Unit>,
    path: &[String],
    depth: usize,
) -> Option<(&'u Unit, String)> {
    let length = (0..=path.len()).rev().find(|length| by_module.contains_key(&path[..*length]))?;
    let unit = by_module[&path[..length]];
    let what = path.get(length).cloned().unwrap_or_else(|| "self".to_owned());
    let onward = unit.handed_on.get(&what).filter(|onward| depth < 8 && *onward != path);
    match onward {
        Some(onward) => {
            let mut onward = onward.clone();
            onward.extend(path.iter().skip(length + 1).cloned());
            resolve(by_module, &onward, depth + 1)
        }
        None => Some((unit, what)),
    }
}

impl Unit {
    fn read(path: &str, inner: &str, text: &str) -> Option<Self> {
        let file = syn::parse_file(text).ok()?;
        let module = module(inner);
        let mut reader = Reader { module: module.clone(), ..Reader::default() };
        reader.children = children(&file.items);
        reader.visit_file(&file);
        let Reader { names, handed_on, .. } = reader;
        Some(Self { file: path.to_owned(), module, names, handed_on })
    }
}

/// `probe/mod` and `probe` are the module `probe`; `lib` and `main` are the root.
fn module(inner: &str) -> Module {
    let mut module: Module = inner.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || inner == "lib" || inner == "main" {
        module.pop();
    }
    module
}

/// Modules that stand in files of their own.
fn children(items: &[Item]) -> BTreeSet<String> {
    let declared = items.iter().filter_map(|item| match item {
        Item::Mod(ItemMod { ident, content: None, .. }) => Some(ident.to_string()),
        _ => None,
    });
    declared.collect()
}

#[derive(Default)]
struct Reader {
    module: Module,
    /// How many modules that are written in the file itself stand around what is read.
    nested: usize,
    children: BTreeSet<String>,
    names: Vec<Vec<String>>,
    handed_on: BTreeMap<String, Vec<String>>,
}

impl Reader {
    /// From the crate's root; `None` for what is another crate's or has no path.
    fn absolute(&self, segments: &[String]) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" if !rest.is_empty() => Some([&self.module, rest].concat()),
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let ups_of_file = ups.saturating_sub(self.nested);
                let kept = self.module.len().checked_sub(ups_of_file)?;
                Some([&self.module[..kept], &segments[ups..]].concat())
            }
            child if self.children.contains(child) => Some([&self.module, segments].concat()),
            _ => None,
        }
    }

    fn take(&mut self, segments: &[String]) {
        self.names.extend(self.absolute(segments));
    }

    fn take_tree(&mut self, tree: &UseTree, before: &mut Vec<String>, is_handed_on: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.take_tree(&path.tree, before, is_handed_on);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(tree, before, is_handed_on);
                }
            }
            UseTree::Glob(_) => self.take(before),
            UseTree::Name(name) => {
                self.take_leaf(before, &name.ident.to_string(), None, is_handed_on);
            }
            UseTree::Rename(name) => {
                let (ident, known_as) = (name.ident.to_string(), name.rename.to_string());
                self.take_leaf(before, &ident, Some(known_as), is_handed_on);
            }
        }
    }

    fn take_leaf(
        &mut self,
        before: &[String],
        name: &str,
        known_as: Option<String>,
        is_handed_on: bool,
    ) {
        let mut segments = before.to_vec();
        if name != "self" {
            segments.push(name.to_owned());
        }
        let Some(path) = self.absolute(&segments) else { return };
        if is_handed_on {
            let known_as = known_as.or_else(|| segments.last().cloned()).unwrap_or_default();
            self.handed_on.insert(known_as, path);
        } else {
            self.names.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.nested += 1;
            visit::visit_item_mod(self, item);
            self.nested -= 1;
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(it) => &it.attrs,
            Item::Impl(it) => &it.attrs,
            Item::Use(it) => &it.attrs,
            Item::Struct(it) => &it.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_handed_on = !matches!(item.vis, Visibility::Inherited);
        self.take_tree(&item.tree, &mut Vec::new(), is_handed_on);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        if segments.len() > 1 && path.leading_colon.is_none() {
            self.take(&segments);
        }
        visit::visit_path(self, path);
    }

    /// A macro's arguments are read as expressions where they are such: `assert!`, `format!`.
    fn visit_macro(&mut self, call: &'ast Macro) {
        type Arguments = syn::punctuated::Punctuated<syn::Expr, syn::Token![,]>;
        if let Ok(arguments) = call.parse_body_with(Arguments::parse_terminated) {
            for argument in &arguments {
                self.visit_expr(argument);
            }
        }
        visit::visit_macro(self, call);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Path>().is_ok_and(|path| path.is_ident("test"))
        }
        _ => false,
    })
}
