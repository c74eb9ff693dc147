"""The models a user keeps: under ``$VIDEODISCO_HOME/models``, each in a folder of its own with its manifest."""
