//! Enumerations that know all their values.

/// Declares an enumeration together with the list of its values, so that none can be left out of that.
macro_rules! listed {
    ($(#[$doc:meta])* $name:ident { $($value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $name { $($value),+ }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$value),+];

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }
    };
}

pub(super) use listed;
