"""Programs for developers. They import `app`, which never imports them."""
