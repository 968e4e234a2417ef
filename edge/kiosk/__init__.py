"""The kiosk: an offline service and a page that name the product which somebody holds up to a camera (extra `kiosk`)."""
