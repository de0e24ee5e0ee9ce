//! Checks the structure of the code: there are no import cycles, no store imports another store, and every wrapper of a
//! registry implements every method.
//!
//! The tests read the `use` declarations and the `crate::…` paths of every source file. An import of a re-exported name
//! counts as an import of the file that defines the name. A file may import the modules that contain it, to share their
//! types. Unit tests may import everything.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Item, ItemMod, UseTree};

const CRATES: [&str; 5] = ["stream-registry", "adapters", "streamreg", "rtp-ingest", "testkit"];
/// The stores of the library. The module `mock` is not listed, because it only wraps the memory store.
const STORES: [&str; 3] = ["memory", "redis", "http"];

/// The path of a module within its crate, e.g. the three parts `redis`, `ops`, `write`.
type Module = Vec<String>;

/// The modules of a crate, with the imports and re-exports of each.
#[derive(Default)]
struct Sources {
    modules: BTreeSet<Module>,
    /// The absolute paths in the code of each module.
    named: BTreeMap<Module, BTreeSet<Module>>,
    /// The re-exported names of each module. The value is the path from which the name is re-exported.
    exports: BTreeMap<(Module, String), Module>,
}

/// Collects the imports and paths of one file.
struct Reader<'a> {
    module: &'a Module,
    sources: &'a mut Sources,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

/// Collects the imports of a `use` tree: for each import, the path of the item and the name that it gets.
fn leaves(tree: &UseTree, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            leaves(&part.tree, path, found);
            path.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, path, found)),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            let mut whole = path.clone();
            if name != "self" {
                whole.push(name.clone());
            }
            found.push((whole.clone(), whole.last().cloned().unwrap_or(name)));
        }
        UseTree::Rename(rename) => {
            path.push(rename.ident.to_string());
            found.push((path.clone(), rename.rename.to_string()));
            path.pop();
        }
        UseTree::Glob(_) => found.push((path.clone(), "*".to_owned())),
    }
}

impl Reader<'_> {
    /// Returns a path from the root of the crate; `None` if the path leads to another crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let mut base = self.module.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => base.clear(),
            "self" | "super" => {}
            first => {
                let child = [self.module.as_slice(), &[first.to_owned()]].concat();
                if !self.sources.modules.contains(&child) {
                    return None;
                }
            }
        }
        while let Some(part) = rest.first().filter(|part| ["crate", "self", "super"].contains(&part.as_str())) {
            if part == "super" {
                base.pop()?;
            }
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    fn add(&mut self, path: &[String]) {
        if let Some(absolute) = self.absolute(path) {
            self.sources.named.entry(self.module.clone()).or_default().insert(absolute);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        // An inline module counts as part of its file.
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &mut Vec::new(), &mut found);
        let private = matches!(item.vis, syn::Visibility::Inherited);
        for (path, name) in found {
            if !private && let Some(source) = self.absolute(&path) {
                self.sources.exports.insert((self.module.clone(), name), source);
            }
            self.add(&path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.add(&parts);
        }
        visit::visit_path(self, path);
    }
}

impl Sources {
    fn read(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let mut files = Vec::new();
        list(&root, &mut Vec::new(), &mut files);
        let mut sources = Self { modules: files.iter().map(|(module, _)| module.clone()).collect(), ..Self::default() };
        for (module, text) in &files {
            let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}::{}: {error}", module.join("::")));
            Reader { module, sources: &mut sources }.visit_file(&file);
        }
        sources
    }

    /// Returns the module that defines the item at a path.
    fn defining(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        // Eight steps are enough, because no name is re-exported that often. A cycle of re-exports does not compile.
        for _ in 0..8 {
            let known = (0..=path.len()).rev().find(|length| self.modules.contains(&path[..*length])).unwrap_or(0);
            let module = path[..known].to_vec();
            let source = path.get(known).and_then(|name| self.exports.get(&(module.clone(), name.clone())));
            match source {
                Some(source) => path = [source.as_slice(), &path[known + 1..]].concat(),
                None => return module,
            }
        }
        panic!("cannot find the module that defines {}", path.join("::"));
    }

    /// Returns the files that each file imports.
    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, paths) in &self.named {
            for path in paths {
                let to = self.defining(path);
                if !from.starts_with(&to) {
                    imports.entry(from.clone()).or_default().insert(to);
                }
            }
        }
        imports
    }
}

fn list(folder: &Path, module: &mut Module, files: &mut Vec<(Module, String)>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries.map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            module.push(name);
            list(&path, module, files);
            module.pop();
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let mut module = module.clone();
            if !["mod", "lib", "main"].contains(&stem) {
                module.push(stem.to_owned());
            }
            files.push((module, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Returns an import cycle if there is one.
fn cycle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn visit<'a>(
        module: &'a Module,
        imports: &'a BTreeMap<Module, BTreeSet<Module>>,
        path: &mut Vec<&'a Module>,
        done: &mut BTreeSet<&'a Module>,
    ) -> Option<Vec<Module>> {
        if let Some(at) = path.iter().position(|one| *one == module) {
            return Some(path[at..].iter().map(|one| (*one).clone()).collect());
        }
        if !done.insert(module) {
            return None;
        }
        path.push(module);
        let found = imports.get(module).into_iter().flatten().find_map(|next| visit(next, imports, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| visit(module, imports, &mut Vec::new(), &mut done))
}

/// Returns the top-level modules that each top-level module imports.
fn between_top_level_modules(imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    let top = |module: &Module| module.iter().take(1).cloned().collect::<Module>();
    let mut between: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, to) in imports.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        // The root of the crate may import every module.
        if top(from) != top(to) && !from.is_empty() && !to.is_empty() {
            between.entry(top(from)).or_default().insert(top(to));
        }
    }
    between
}

/// Returns all import cycles. The first import of each cycle is removed to find the next cycle.
fn cycles(mut imports: BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(cycle) = cycle(&imports) {
        found.push(cycle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" -> "));
        let next = cycle.get(1).unwrap_or(&cycle[0]);
        imports.entry(cycle[0].clone()).or_default().remove(next);
    }
    found
}

#[test]
fn crates_have_no_import_cycles() {
    let mut found = Vec::new();
    for name in CRATES {
        let imports = Sources::read(name).imports();
        found.extend(
            cycles(between_top_level_modules(&imports)).into_iter().map(|cycle| format!("{name}: modules {cycle}")),
        );
        found.extend(cycles(imports).into_iter().map(|cycle| format!("{name}: files {cycle}")));
    }
    assert!(found.is_empty(), "there are import cycles:\n{}", found.join("\n"));
}

#[test]
fn no_store_imports_another_store() {
    let imports = Sources::read("stream-registry").imports();
    let mut stores = BTreeSet::new();
    for (from, to) in imports.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        let store =
            |module: &Module| STORES.into_iter().find(|store| module.first().is_some_and(|first| first == store));
        if let (Some(one), Some(other)) = (store(from), store(to)) {
            stores.insert(one);
            assert_eq!(one, other, "{} imports {}", from.join("::"), to.join("::"));
        }
    }
    assert_eq!(stores.len(), STORES.len(), "a store was not found; update STORES if it was renamed");
}

/// Collects the implementations of `Registry` in a file. Each entry is true if the implementation denies the lint for
/// missing methods.
#[derive(Default)]
struct Wrappers {
    lints: Vec<bool>,
}

fn denies_missing_methods(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("deny")
        && attribute
            .parse_args::<syn::Path>()
            .is_ok_and(|lint| lint.segments.last().is_some_and(|name| name.ident == "missing_trait_methods"))
}

impl<'ast> Visit<'ast> for Wrappers {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        if name.is_some_and(|name| name.ident == "Registry") {
            self.lints.push(item.attrs.iter().any(denies_missing_methods));
        }
        visit::visit_item_impl(self, item);
    }
}

impl Wrappers {
    fn in_file(text: &str) -> Self {
        let mut wrappers = Self::default();
        wrappers.visit_file(&syn::parse_file(text).unwrap());
        wrappers
    }
}

#[test]
fn every_registry_wrapper_denies_the_missing_methods_lint() {
    let (mut linted, mut unlinted) = (0, Vec::new());
    for name in CRATES {
        let mut files = Vec::new();
        for folder in ["src", "tests", "examples", "benches"] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join(folder);
            if root.is_dir() {
                list(&root, &mut vec![folder.to_owned()], &mut files);
            }
        }
        for (module, text) in files {
            // Stores are skipped. All other implementations of `Registry` wrap or imitate a store.
            if name == "stream-registry"
                && module[0] == "src"
                && STORES.contains(&module.get(1).map_or("", |part| part))
            {
                continue;
            }
            for denied in Wrappers::in_file(&text).lints {
                if denied {
                    linted += 1;
                } else {
                    unlinted.push(format!("{name}/{}", module.join("/")));
                }
            }
        }
    }
    assert!(
        unlinted.is_empty(),
        "implementations of Registry without #[deny(clippy::missing_trait_methods)]:\n{}",
        unlinted.join("\n")
    );
    assert!(linted >= 8, "found only {linted} wrappers; is the trait still named Registry?");
}

#[test]
fn wrapper_check_finds_a_wrapper_without_the_lint() {
    let text = "#[deny(clippy::missing_trait_methods)] impl<R> Registry for Arc<R> {}
        #[deny(clippy::todo)] impl stream_registry::Registry for A {}
        fn nested() { impl Registry for B {} }
        impl Clone for C {}";
    assert_eq!(Wrappers::in_file(text).lints, [true, false, false]);
}

#[test]
fn cycle_check_finds_an_import_cycle_through_re_exports() {
    let mut sources = Sources::default();
    let module = |text: &str| text.split("::").map(str::to_owned).collect::<Module>();
    sources.modules = [vec![], module("a"), module("a::deep"), module("b")].into();
    for (name, text) in [
        ("a", "mod deep; pub use deep::Thing; use crate::b::Other;"),
        ("a::deep", "use super::Shared; pub struct Thing; #[cfg(test)] mod tests { use crate::b::Other; }"),
        ("b", "fn f() { let _ = crate::a::Thing; }"),
    ] {
        let file = syn::parse_file(text).unwrap();
        Reader { module: &module(name), sources: &mut sources }.visit_file(&file);
    }
    let imports = sources.imports();
    assert_eq!(cycle(&imports), None, "b imports a::deep, which imports nothing");
    assert_eq!(cycle(&between_top_level_modules(&imports)), Some(vec![module("a"), module("b")]));
}
