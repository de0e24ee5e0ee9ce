//! The examples in contrib/examples, each as a process with a real server that needs tokens.

mod follower;
mod kit;
mod publisher;

/// Declares the tests of each language as modules, so that their names contain the language.
macro_rules! in_each_language {
    ($($test:ident),+ $(,)?) => {
        in_each_language!(@ curl Curl, $($test),+);
        in_each_language!(@ python Python, $($test),+);
        in_each_language!(@ javascript JavaScript, $($test),+);
        in_each_language!(@ go Go, $($test),+);
    };
    (@ $module:ident $language:ident, $($test:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(crate::examples::kit::Language::$language);
                }
            )+
        }
    };
}
use in_each_language;
