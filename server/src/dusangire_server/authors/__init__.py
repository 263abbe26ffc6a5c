"""For authors of payment methods: a folder to begin with, and a report on its promises."""
