"""The demo's storefront: a page on which one's own clicks can be seen to change the shelf."""
