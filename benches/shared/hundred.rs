//! `hundred!(price)`: a macro without arguments, called a hundred times. For programs with as many prices as a large service has.

macro_rules! ten {
    ($price:ident) => {
        $price!();
        $price!();
        $price!();
        $price!();
        $price!();
        $price!();
        $price!();
        $price!();
        $price!();
        $price!();
    };
}

macro_rules! hundred {
    ($price:ident) => {
        ten!($price);
        ten!($price);
        ten!($price);
        ten!($price);
        ten!($price);
        ten!($price);
        ten!($price);
        ten!($price);
        ten!($price);
        ten!($price);
    };
}
