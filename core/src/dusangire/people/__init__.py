"""Staff: accounts, signing in, staying signed in."""
