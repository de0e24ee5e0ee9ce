//! The structure of the code: no circle of imports, no store that imports another store, and no wrapper that can forget a
//! method.
//!
//! Reads the `use` declarations and the `crate::…` paths of every source file. An import by a name that a module hands on
//! counts as an import of the file that defines the name. A file may import the modules that it lies in, whose types it
//! shares; tests inside the files may import everything.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Item, ItemMod, UseTree};

const CRATES: [&str; 4] = ["stream-registry", "streamreg", "rtp-ingest", "testkit"];
/// The stores of the library; `mock` is the memory store with a script.
const STORES: [&str; 3] = ["memory", "redis", "http"];

/// A module as the names on the way to it: `redis`, `ops`, `write`.
type Module = Vec<String>;

/// The modules of a crate, with what each imports and hands on.
#[derive(Default)]
struct Sources {
    modules: BTreeSet<Module>,
    /// The absolute paths that a module names.
    named: BTreeMap<Module, BTreeSet<Module>>,
    /// The names that a module hands on, and where each comes from.
    exports: BTreeMap<(Module, String), Module>,
}

/// Collects the paths of one file.
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

/// The leaves of a use tree: the path of each, and the name that it gets.
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
    /// Makes a path absolute; `None` if it leads out of the crate.
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

    fn name(&mut self, path: &[String]) {
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
        // A module inside of a file is part of the file.
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
            self.name(&path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.name(&parts);
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
            let file = syn::parse_file(text).unwrap_or_else(|fault| panic!("{name}::{}: {fault}", module.join("::")));
            Reader { module, sources: &mut sources }.visit_file(&file);
        }
        sources
    }

    /// The module that defines what a path names.
    fn defining(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        // Names are handed on a few times at most; a circle of re-exports does not compile.
        for _ in 0..8 {
            let known = (0..=path.len()).rev().find(|length| self.modules.contains(&path[..*length])).unwrap_or(0);
            let module = path[..known].to_vec();
            let source = path.get(known).and_then(|name| self.exports.get(&(module.clone(), name.clone())));
            match source {
                Some(source) => path = [source.as_slice(), &path[known + 1..]].concat(),
                None => return module,
            }
        }
        panic!("cannot find out which module defines {}", path.join("::"));
    }

    /// The arrows between files: who imports whom.
    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut arrows: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, paths) in &self.named {
            for path in paths {
                let to = self.defining(path);
                if !from.starts_with(&to) {
                    arrows.entry(from.clone()).or_default().insert(to);
                }
            }
        }
        arrows
    }
}

fn list(folder: &Path, module: &mut Module, files: &mut Vec<(Module, String)>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()));
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

/// A circle of arrows, if there is one.
fn circle(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn visit<'a>(
        module: &'a Module,
        arrows: &'a BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<&'a Module>,
        done: &mut BTreeSet<&'a Module>,
    ) -> Option<Vec<Module>> {
        if let Some(at) = way.iter().position(|one| *one == module) {
            return Some(way[at..].iter().map(|one| (*one).clone()).collect());
        }
        if !done.insert(module) {
            return None;
        }
        way.push(module);
        let found = arrows.get(module).into_iter().flatten().find_map(|next| visit(next, arrows, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|module| visit(module, arrows, &mut Vec::new(), &mut done))
}

/// The arrows between the modules of the crate's root.
fn between_rooms(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    let room = |module: &Module| module.iter().take(1).cloned().collect::<Module>();
    let mut rooms: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, to) in arrows.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        // The root assembles the crate.
        if room(from) != room(to) && !from.is_empty() && !to.is_empty() {
            rooms.entry(room(from)).or_default().insert(room(to));
        }
    }
    rooms
}

/// All circles, as text: each is cut at its first arrow to find the next one.
fn circles(mut arrows: BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(circle) = circle(&arrows) {
        found.push(circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" -> "));
        let next = circle.get(1).unwrap_or(&circle[0]);
        arrows.entry(circle[0].clone()).or_default().remove(next);
    }
    found
}

#[test]
fn no_crate_has_a_circle_of_imports() {
    let mut found = Vec::new();
    for name in CRATES {
        let arrows = Sources::read(name).imports();
        found.extend(circles(between_rooms(&arrows)).into_iter().map(|circle| format!("{name}: modules {circle}")));
        found.extend(circles(arrows).into_iter().map(|circle| format!("{name}: files {circle}")));
    }
    assert!(found.is_empty(), "imports form circles:\n{}", found.join("\n"));
}

#[test]
fn no_store_imports_another_store() {
    let arrows = Sources::read("stream-registry").imports();
    let mut stores = BTreeSet::new();
    for (from, to) in arrows.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        let store =
            |module: &Module| STORES.into_iter().find(|store| module.first().is_some_and(|first| first == store));
        if let (Some(one), Some(other)) = (store(from), store(to)) {
            stores.insert(one);
            assert_eq!(one, other, "{} imports {}", from.join("::"), to.join("::"));
        }
    }
    assert_eq!(stores.len(), STORES.len(), "a store was not found; was it renamed?");
}

/// Collects the implementations of `Registry` in a file, and whether the lint for missing methods is denied.
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
fn every_wrapper_of_a_registry_denies_missing_methods() {
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
            // A store implements the trait. Everything else forwards to a store or stands in for one.
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
fn wrapper_without_the_lint_is_found() {
    let text = "#[deny(clippy::missing_trait_methods)] impl<R> Registry for Arc<R> {}
        #[deny(clippy::todo)] impl stream_registry::Registry for A {}
        fn nested() { impl Registry for B {} }
        impl Clone for C {}";
    assert_eq!(Wrappers::in_file(text).lints, [true, false, false]);
}

#[test]
fn circle_is_found_and_resolved_through_re_exports() {
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
    let arrows = sources.imports();
    assert_eq!(circle(&arrows), None, "b imports a::deep, which imports nothing");
    assert_eq!(circle(&between_rooms(&arrows)), Some(vec![module("a"), module("b")]));
}
